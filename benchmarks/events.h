/* Events posted by a timetable, and the proof that each reader gets all of its stream in order.
 *
 * A path with a `#` stands for as many streams as there are readers, each reader's number in its
 * place; event i then goes to stream i modulo their number. */
#ifndef EVENTS_H
#define EVENTS_H

#include "wire.h"

/* {"n":"000017","t":"0000001234567890123","p":"..."} with `t` the nanosecond it was due. */
#define EVENT_BYTES 100
#define MAX_EVENTS 10000

typedef struct {
    int64_t due;
    char text[EVENT_BYTES + 1];
} event;

static event timetable[MAX_EVENTS];
static int events, streams = 1;

static inline void count_streams(const char *path, int readers) {
    if (strchr(path, '#')) streams = readers;
    if (events % streams) die("%d events do not go evenly into %d streams", events, streams);
}

/* The path of a stream. */
static inline const char *place(const char *path, int stream) {
    static char placed[LINE_MAX_BYTES];
    const char *number = strchr(path, '#');
    if (!number) return path;
    if (snprintf(placed, sizeof placed, "%.*s%d%s", (int)(number - path), path, stream,
                 number + 1) >= (int)sizeof placed)
        die("the path is too long");
    return placed;
}

static inline void plan_events(int64_t first, int64_t interval) {
    for (int i = 0; i < events; i++) {
        event *e = &timetable[i];
        e->due = first + i * interval;
        int length = snprintf(e->text, sizeof e->text, "{\"n\":\"%06d\",\"t\":\"%019lld\",\"p\":\"", i,
                              (long long)e->due);
        memset(e->text + length, 'x', (size_t)(EVENT_BYTES - length - 2));
        memcpy(e->text + EVENT_BYTES - 2, "\"}", 3);
    }
}

/* ---------------------------------------------------------------- receiving */

/* What one reader has got. Events may come one by one, or joined in arrays of any shape. */
typedef struct {
    int next; /* of its stream's events; the first has the stream's own number */
    size_t have; /* bytes of an event that has not come whole yet */
    char part[EVENT_BYTES];
} inbox;

static samples delays, answers;

static inline void inbox_check(inbox *box, const char *text, int64_t now) {
    if (box->next >= events || memcmp(text, timetable[box->next].text, EVENT_BYTES))
        die("event %d of %d was expected, not %.*s", box->next, events, EVENT_BYTES, text);
    sample(&delays, now - timetable[box->next].due);
    box->next += streams;
}

/* Feeds a piece of JSON text that consists of the events and what may stand between them. */
static inline void inbox_feed(inbox *box, const char *data, size_t length, int64_t now) {
    for (const char *at = data, *end = data + length; at < end;) {
        if (!box->have && *at != '{') {
            if (!strchr("[], \t", *at) || !*at) die("stray bytes: %.*s", (int)(end - at), at);
            at++;
        } else if (!box->have && end - at >= EVENT_BYTES) {
            inbox_check(box, at, now);
            at += EVENT_BYTES;
        } else {
            size_t take = EVENT_BYTES - box->have;
            if (take > (size_t)(end - at)) take = (size_t)(end - at);
            memcpy(box->part + box->have, at, take);
            at += take;
            box->have += take;
            if (box->have < EVENT_BYTES) return;
            inbox_check(box, box->part, now);
            box->have = 0;
        }
    }
}

/* ---------------------------------------------------------------- posting */

/* One writer. It never has two requests on the way, and posts at once what it is late with: an
 * event's time is when it was due, so whoever keeps the writer waiting pays for that. */
typedef struct {
    int fd;
    const char *path;
    response answer;
    bool waiting;
    int next;
    int64_t finished;
} poster;

static inline void ignore(void *owner, const char *data, size_t length) {
    (void)owner, (void)data, (void)length;
}

static inline void poster_open(poster *p, int port, const char *path, int poll) {
    *p = (poster){.fd = dial(port), .path = path};
    watch(poll, p->fd, p);
}

static inline int64_t poster_due(const poster *p) {
    return p->waiting || p->next == events ? INT64_MAX : timetable[p->next].due;
}

static inline void poster_post(poster *p) {
    char request[LINE_MAX_BYTES + EVENT_BYTES];
    int length = snprintf(request, sizeof request,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s", place(p->path, p->next % streams),
                          EVENT_BYTES, timetable[p->next].text);
    if (length >= (int)sizeof request) die("the path is too long");
    p->next++;
    response_start(&p->answer);
    p->waiting = true;
    transmit(p->fd, request, (size_t)length);
}

static inline void poster_read(poster *p) {
    static const sink ignored = {NULL, ignore};
    char buffer[4096];
    size_t length = receive(p->fd, buffer, sizeof buffer);
    if (response_feed(&p->answer, &ignored, p, buffer, length) != length)
        die("bytes follow the answer to an append");
    if (p->answer.state != COMPLETE) return;
    if (p->answer.status / 100 != 2) die("an append was answered with %d", p->answer.status);
    p->waiting = false;
    int64_t now = now_ns();
    sample(&answers, now - timetable[p->next - 1].due);
    if (p->next == events) p->finished = now;
}

/* ---------------------------------------------------------------- running */

/* Tells the runner that all readers wait, and waits until it lets the events begin. */
static inline void hold(void) {
    printf("ready\n");
    fflush(stdout);
    for (int c = getchar(); c != '\n'; c = getchar())
        if (c == EOF) die("the runner has gone");
}

#define GIVE_UP (120 * SECOND)

/* Posts the events while `read_one` serves whoever has something to read, until each of the
 * readers has got each event and the last append is answered. */
static inline void run_events(poster *writer, int poll, window *measured, int pid, int readers,
                              int64_t interval, void (*read_one)(void *reader)) {
    static struct epoll_event ready[256];
    size_t all = (size_t)readers * (size_t)(events / streams);
    window_open(measured, pid);
    plan_events(measured->began, interval);
    int64_t give_up = measured->began + events * interval + GIVE_UP;
    while (delays.count < all || !writer->finished) {
        int64_t due = poster_due(writer);
        int count = wait_until(poll, ready, 256, due < give_up ? due : give_up);
        if (now_ns() > give_up) die("%zu of %zu events have come", delays.count, all);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == writer) poster_read(writer);
            else read_one(ready[i].data.ptr);
            if (now_ns() >= poster_due(writer)) poster_post(writer);
        }
        if (now_ns() >= poster_due(writer)) poster_post(writer);
    }
    window_close(measured);
    /* Whoever sends an event twice does so about now. */
    for (int64_t end = now_ns() + 50 * MS; now_ns() < end;)
        for (int i = wait_until(poll, ready, 256, end); i--;) read_one(ready[i].data.ptr);
}

static inline void print_events(int readers, const window *measured, const poster *writer) {
    printf("{\"readers\": %d, \"deliveries\": %zu, \"per_s\": %.1f, \"posting_s\": %.4f", readers,
           delays.count, (double)delays.count / measured->seconds,
           (double)(writer->finished - measured->began) / SECOND);
    print_samples("", &delays);
    print_samples("answer_", &answers);
    print_window(measured);
}

#endif
