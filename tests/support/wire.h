/* HTTP/1.1 from the client's side, and the clocks and counters that every load tool needs. */
#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define SECOND 1000000000LL

/* Whatever is not as it must be ends the run: a figure from a wrong server is worth nothing. */
static inline void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) die("out of memory");
    return memory;
}

static inline long number(const char *text, long least, long most) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < least || value > most) die("%s: not within %ld to %ld", text, least, most);
    return value;
}

/* ---------------------------------------------------------------- clocks */

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static inline int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Time on a processor of all threads of a process; /proc/PID/stat counts only in ticks of 10 ms. */
static inline int64_t server_cpu_ns(int pid) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    if (!threads) die("no process %d", pid);
    int64_t total = 0;
    for (struct dirent *thread; (thread = readdir(threads));) {
        long long spent;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, thread->d_name);
        FILE *file = thread->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%lld", &spent) == 1) total += spent;
        fclose(file);
    }
    closedir(threads);
    return total;
}

/* What cores 0 and 1, where server and tool run, have done for anybody, the hypervisor included. */
static inline int64_t busy_ns(void) {
    FILE *file = fopen("/proc/stat", "r");
    if (!file) die("/proc/stat: %s", strerror(errno));
    int64_t total = 0;
    long long user, nice, system, irq, softirq, steal;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "cpu0 ", 5) && strncmp(line, "cpu1 ", 5)) continue;
        if (sscanf(line + 5, "%lld %lld %lld %*d %*d %lld %lld %lld", &user, &nice, &system, &irq,
                   &softirq, &steal) != 6)
            die("/proc/stat: %s", line);
        total += user + nice + system + irq + softirq + steal;
    }
    fclose(file);
    return total * SECOND / sysconf(_SC_CLK_TCK);
}

/* Time spent looking for something to read while there was nothing. */
static int64_t looked_ns;

/* The measured window, and how busy the two sides, and whoever else, were in it. */
typedef struct {
    int pid;
    int64_t began, server_cpu, tool_cpu, looked, busy;
    double seconds, server_share, tool_share, other_share;
} window;

static inline void window_open(window *w, int pid) {
    w->pid = pid;
    w->busy = busy_ns();
    w->server_cpu = server_cpu_ns(pid);
    w->tool_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    w->looked = looked_ns;
    w->began = now_ns();
}

static inline void window_close(window *w) {
    int64_t took = now_ns() - w->began;
    int64_t tool = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - w->tool_cpu;
    int64_t server = server_cpu_ns(w->pid) - w->server_cpu;
    int64_t other = busy_ns() - w->busy - tool - server;
    w->seconds = (double)took / SECOND;
    w->tool_share = (double)(tool - (looked_ns - w->looked)) / (double)took;
    w->server_share = (double)server / (double)took;
    w->other_share = other > 0 ? (double)other / (double)took : 0; /* it is counted in ticks */
}

/* ---------------------------------------------------------------- samples */

typedef struct {
    uint32_t *us;
    size_t count, room;
} samples;

static inline void sample(samples *s, int64_t ns) {
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1 << 16;
        if (!(s->us = realloc(s->us, s->room * sizeof *s->us))) die("out of memory");
    }
    s->us[s->count++] = (uint32_t)(ns / 1000);
}

static inline int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Sorts in place, then prints the three figures as JSON members, their names after a prefix. */
static inline void print_samples(const char *prefix, samples *s) {
    qsort(s->us, s->count, sizeof *s->us, by_value);
    const double at[] = {.5, .99, 1};
    const char *names[] = {"p50_ms", "p99_ms", "max_ms"};
    for (int i = 0; i < 3; i++) {
        size_t rank = (size_t)(at[i] * (double)(s->count - 1) + .5);
        printf(", \"%s%s\": %.3f", prefix, names[i], s->count ? s->us[rank] / 1000. : 0.);
    }
}

static inline void print_window(const window *w) {
    printf(", \"seconds\": %.4f, \"server_cpu\": %.3f, \"tool_cpu\": %.3f, \"other_cpu\": %.3f",
           w->seconds, w->server_share, w->tool_share, w->other_share);
}

/* ---------------------------------------------------------------- sockets */

static inline int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) die("socket: %s", strerror(errno));
    /* A reset instead of a farewell, so that thousands of closed ports need not wait. */
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect: %s", strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* A request always fits into an empty socket buffer, so there is no queue to write from. */
static inline void transmit(int fd, const char *request, size_t length) {
    if (send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("a request could not be sent: %s", strerror(errno));
}

/* The bytes that are there, 0 when there are none; the server never ends a connection. */
static inline size_t receive(int fd, char *buffer, size_t room) {
    ssize_t n = recv(fd, buffer, room, 0);
    if (n > 0) return (size_t)n;
    if (n < 0 && errno == EAGAIN) return 0;
    die("the server ended a connection: %s", n ? strerror(errno) : "end of file");
}

static inline void watch(int poll, int fd, void *owner) {
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = owner};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &interest)) die("epoll: %s", strerror(errno));
}

/* The connections with something to read, none once the time has come. */
static inline int wait_until(int poll, struct epoll_event *ready, int room, int64_t until) {
    int64_t left = until - now_ns();
    if (left < 0) left = 0;
    /* To the nanosecond, which epoll_wait cannot. */
    struct timespec t = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
    int count = epoll_pwait2(poll, ready, room, &t, NULL);
    if (count < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
    return count < 0 ? 0 : count;
}

/* ---------------------------------------------------------------- responses */

enum response_state {
    STATUS_LINE,
    HEADER_LINE,
    LENGTH_BODY,
    OPEN_BODY, /* ends with the connection */
    CHUNK_LINE,
    CHUNK_BODY,
    CHUNK_END,
    TRAILER_LINE,
    COMPLETE,
};

#define LINE_MAX_BYTES 1024

/* One response, fed in pieces of any size. */
typedef struct {
    enum response_state state;
    int status;
    bool chunked, measured;
    bool to_head;       /* of a HEAD: nothing follows its head */
    uint64_t left;      /* of the body or of the chunk */
    size_t line_length; /* of a line whose end has not come yet */
    char line[LINE_MAX_BYTES];
} response;

typedef struct {
    void (*header)(void *owner, const char *name, const char *value);
    void (*body)(void *owner, const char *data, size_t length);
} sink;

static inline void response_start(response *r) {
    r->state = STATUS_LINE;
    r->status = 0;
    r->chunked = r->measured = r->to_head = false;
    r->left = 0;
    r->line_length = 0;
}

static inline bool response_head_done(const response *r) { return r->state > HEADER_LINE; }

/* Takes bytes up to a line's end; true when r->line holds the whole line, ended with a NUL. */
static inline bool take_line(response *r, const char **data, const char *end) {
    const char *newline = memchr(*data, '\n', (size_t)(end - *data));
    size_t length = (size_t)((newline ? newline : end) - *data);
    if (r->line_length + length >= LINE_MAX_BYTES) die("a line of a response is too long");
    memcpy(r->line + r->line_length, *data, length);
    r->line_length += length;
    *data = newline ? newline + 1 : end;
    if (!newline) return false;
    if (r->line_length == 0 || r->line[r->line_length - 1] != '\r') die("a line without CR LF");
    r->line[--r->line_length] = 0;
    r->line_length = 0;
    return true;
}

static inline void take_status(response *r) {
    if (strncmp(r->line, "HTTP/1.1 ", 9)) die("not a response: %s", r->line);
    r->status = atoi(r->line + 9);
    r->state = HEADER_LINE;
}

static inline void end_head(response *r) {
    if (r->status == 204 || r->status == 304 || r->to_head) r->state = COMPLETE;
    else if (r->chunked) r->state = CHUNK_LINE;
    else if (!r->measured) r->state = OPEN_BODY;
    else r->state = r->left ? LENGTH_BODY : COMPLETE;
}

static inline void take_header(response *r, const sink *s, void *owner) {
    if (!r->line[0]) {
        end_head(r);
        return;
    }
    char *value = strchr(r->line, ':');
    if (!value) die("not a header: %s", r->line);
    *value++ = 0;
    value += strspn(value, " \t");
    if (!strcasecmp(r->line, "content-length")) {
        r->measured = true;
        r->left = (uint64_t)number(value, 0, INT32_MAX);
    } else if (!strcasecmp(r->line, "transfer-encoding")) {
        if (strcasecmp(value, "chunked")) die("unknown transfer encoding %s", value);
        r->chunked = true;
    }
    if (s->header) s->header(owner, r->line, value);
}

static inline void take_chunk_size(response *r) {
    char *end;
    r->left = strtoull(r->line, &end, 16);
    if (end == r->line || (*end && *end != ';')) die("not a chunk size: %s", r->line);
    r->state = r->left ? CHUNK_BODY : TRAILER_LINE;
}

static inline void take_body(response *r, const sink *s, void *owner, const char **data,
                             const char *end) {
    size_t length = (size_t)(end - *data);
    if (r->state != OPEN_BODY) {
        if (length > r->left) length = (size_t)r->left;
        r->left -= length;
    }
    s->body(owner, *data, length);
    *data += length;
    if (r->state == OPEN_BODY || r->left) return;
    r->state = r->state == CHUNK_BODY ? CHUNK_END : COMPLETE;
}

/* Feeds bytes until they or the response end; returns how many were taken. */
static inline size_t response_feed(response *r, const sink *s, void *owner, const char *data,
                                   size_t length) {
    const char *at = data, *end = data + length;
    while (at < end && r->state != COMPLETE) {
        if (r->state == LENGTH_BODY || r->state == CHUNK_BODY || r->state == OPEN_BODY) {
            take_body(r, s, owner, &at, end);
            continue;
        }
        if (!take_line(r, &at, end)) break;
        switch (r->state) {
            case STATUS_LINE: take_status(r); break;
            case HEADER_LINE: take_header(r, s, owner); break;
            case CHUNK_LINE: take_chunk_size(r); break;
            case CHUNK_END:
                if (r->line[0]) die("a chunk is longer than its size");
                r->state = CHUNK_LINE;
                break;
            default: /* TRAILER_LINE */
                if (!r->line[0]) r->state = COMPLETE;
        }
    }
    return (size_t)(at - data);
}

#endif
