/* A disk that fails on demand, for LD_PRELOAD. It concerns files called headgate.db*, and is
 * ruled by files in the folder that DISK_FAULTS names:
 *
 *   sync-fails    holds a number N: every Nth fsync or fdatasync gives EIO, and syncs nothing
 *   sync-takes    holds a number of milliseconds that each sync takes longer
 *   write-fails   holds a number N: every Nth write gives ENOSPC, and writes nothing
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

/* The number that a control file holds, 0 when there is no such file. */
static int control(const char *name) {
    char path[4096];
    int number = 0;
    const char *folder = getenv("DISK_FAULTS");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/nonexistent", name);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    if (fscanf(file, "%d", &number) != 1) number = 0;
    fclose(file);
    return number;
}

static bool concerns(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return false;
    path[size] = 0;
    return strstr(path, "/headgate.db") != NULL;
}

static bool fails(int fd, const char *name, unsigned *calls) {
    if (!concerns(fd)) return false;
    int every = control(name);
    return every > 0 && __atomic_add_fetch(calls, 1, __ATOMIC_RELAXED) % (unsigned)every == 0;
}

static int sync_with(int (*real)(int), int fd) {
    static unsigned calls;
    int late_ms = concerns(fd) ? control("sync-takes") : 0;
    if (late_ms) usleep(late_ms * 1000);
    if (fails(fd, "sync-fails", &calls)) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

static bool write_fails(int fd) {
    static unsigned calls;
    if (!fails(fd, "write-fails", &calls)) return false;
    errno = ENOSPC;
    return true;
}

int fsync(int fd) { return sync_with(REAL(fsync), fd); }

int fdatasync(int fd) { return sync_with(REAL(fdatasync), fd); }

ssize_t write(int fd, const void *data, size_t size) {
    return write_fails(fd) ? -1 : REAL(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return write_fails(fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return write_fails(fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
