/* Long-poll: many readers that follow one stream, or each its own, by request after request, and
 * one writer.
 *
 *   longpoll PORT POLLERS EVENTS INTERVAL_US SERVER_PID POST_PORT PATH
 *
 * Each poller first catches up with the (empty) stream, as a client does, then follows
 * Stream-Next-Offset and Stream-Cursor. Prints `ready` once every poller has asked to wait, posts
 * after a line on standard input. */
#include "events.h"

#define TOKEN_BYTES 128

typedef struct {
    int fd;
    bool polling;
    response answer;
    char offset[TOKEN_BYTES], cursor[TOKEN_BYTES];
    inbox box;
    int stream;
    int before; /* the event it had come to when it asked */
    int64_t now;
} poller;

static char buffer[1 << 18];
static const char *path;
static size_t caught_up, answers_200, answers_204;

static void keep_token(char *into, const char *value) {
    const char *plain = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~";
    if (strlen(value) >= TOKEN_BYTES || value[strspn(value, plain)])
        die("%s: not fit for a query", value);
    strcpy(into, value);
}

static void on_header(void *owner, const char *name, const char *value) {
    poller *p = owner;
    if (!strcasecmp(name, "stream-next-offset")) keep_token(p->offset, value);
    if (!strcasecmp(name, "stream-cursor")) keep_token(p->cursor, value);
}

static void on_body(void *owner, const char *data, size_t length) {
    poller *p = owner;
    inbox_feed(&p->box, data, length, p->now);
}

static void ask(poller *p) {
    char request[LINE_MAX_BYTES];
    int length = snprintf(request, sizeof request, "GET %s?offset=%s%s%s%s HTTP/1.1\r\n"
                          "Host: 127.0.0.1\r\n\r\n", place(path, p->stream), p->offset,
                          p->polling ? "&live=long-poll" : "", *p->cursor ? "&cursor=" : "",
                          p->cursor);
    if (length >= (int)sizeof request) die("the path is too long");
    response_start(&p->answer);
    p->before = p->box.next;
    *p->offset = 0;
    transmit(p->fd, request, (size_t)length);
}

/* A live answer is either news (200) or a timeout without any (204). */
static void check(const poller *p) {
    int status = p->answer.status, news = (p->box.next - p->before) / streams;
    if (p->box.have) die("an answer ends within an event");
    if (!*p->offset) die("an answer names no next offset");
    if (p->polling ? status != (news ? 200 : 204) : status != 200)
        die("an answer with %d events has status %d", news, status);
}

static void read_one(void *owner) {
    static const sink taken = {on_header, on_body};
    poller *p = owner;
    size_t length = receive(p->fd, buffer, sizeof buffer);
    p->now = now_ns();
    if (response_feed(&p->answer, &taken, p, buffer, length) != length)
        die("bytes follow an answer");
    if (p->answer.state != COMPLETE) return;
    check(p);
    if (!p->polling) caught_up++;
    else if (p->answer.status == 200) answers_200++;
    else answers_204++;
    p->polling = true;
    ask(p);
}

/* Opens pollers a hundred at a time, so that no accept queue overflows. */
static void open_all(poller *all, int count, int port, int poll) {
    struct epoll_event ready[100];
    int64_t give_up = now_ns() + GIVE_UP;
    for (int dialled = 0; caught_up < (size_t)count;) {
        for (; dialled < count && dialled - (int)caught_up < 100; dialled++) {
            poller *p = &all[dialled];
            p->fd = dial(port);
            p->stream = p->box.next = dialled % streams;
            strcpy(p->offset, "-1");
            watch(poll, p->fd, p);
            ask(p);
        }
        int n = wait_until(poll, ready, 100, give_up);
        if (now_ns() > give_up) die("%zu of %d pollers have caught up", caught_up, count);
        for (int i = 0; i < n; i++) read_one(ready[i].data.ptr);
    }
}

int main(int count, char **arguments) {
    if (count != 8) die("usage: see the head of longpoll.c");
    int port = (int)number(arguments[1], 1, 65535);
    int pollers = (int)number(arguments[2], 1, 50000);
    events = (int)number(arguments[3], 1, MAX_EVENTS);
    int64_t interval = number(arguments[4], 0, 10000000) * 1000;
    int pid = (int)number(arguments[5], 1, INT32_MAX);
    int post_port = (int)number(arguments[6], 1, 65535);
    path = arguments[7];
    count_streams(path, pollers);

    int poll = epoll_create1(0);
    poller *all = allocate((size_t)pollers, sizeof *all);
    open_all(all, pollers, port, poll);
    hold();

    poster writer;
    window measured;
    poster_open(&writer, post_port, path, poll);
    run_events(&writer, poll, &measured, pid, pollers, interval, read_one);
    print_events(pollers, &measured, &writer);
    printf(", \"answers_200\": %zu, \"answers_204\": %zu}\n", answers_200, answers_204);
    return 0;
}
