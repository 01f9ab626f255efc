/* A crash of Redis in the midst of a write to its append-only file, for LD_PRELOAD.
 *
 * It waits for the file that TEAR_TRIGGER names, which holds a number. The next write of enough
 * bytes removes it, ends in the midst of one of the commands that it is to write, and is the
 * process's last act. The number chooses the command, and where in it the write ends.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

/* Less is no commit. */
#define ENOUGH 200

static bool concerns(int fd) {
    static const char suffix[] = ".incr.aof";
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < (ssize_t)strlen(suffix)) return false;
    path[size] = 0;
    return strcmp(path + size - strlen(suffix), suffix) == 0;
}

/* Whether it is time; only one is told so. */
static bool triggered(unsigned long *number) {
    const char *path = getenv("TEAR_TRIGGER");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) return false;
    bool is_whole = fscanf(file, "%lu", number) == 1;
    fclose(file);
    return is_whole && unlink(path) == 0;
}

/* The end of the command that begins here. Redis gives whole commands to each write. */
static const char *end_of(const char *command) {
    char *at;
    unsigned long words = strtoul(command + strlen("*"), &at, 10);
    for (at += strlen("\r\n"); words > 0; words--) {
        unsigned long size = strtoul(at + strlen("$"), &at, 10);
        at += strlen("\r\n") + size + strlen("\r\n");
    }
    return at;
}

/* Where in the midst of which command the write ends. */
static size_t part(const char *data, size_t size, unsigned long number) {
    unsigned long count = 0;
    const char *command = data;
    for (const char *at = data; at < data + size; at = end_of(at)) count++;
    for (unsigned long skipped = number % count; skipped > 0; skipped--) command = end_of(command);
    size_t length = end_of(command) - command;
    return command - data + 1 + number / count % (length - 1);
}

ssize_t write(int fd, const void *data, size_t size) {
    unsigned long number;
    if (size >= ENOUGH && concerns(fd) && triggered(&number)) {
        size = part(data, size, number);
        if (REAL(write)(fd, data, size) == (ssize_t)size) kill(getpid(), SIGKILL);
        abort();
    }
    return REAL(write)(fd, data, size);
}
