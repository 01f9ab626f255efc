/* Server-sent events: many readers of one stream, or each of its own, and one writer.
 *
 *   fanout PORT READERS EVENTS INTERVAL_US SERVER_PID POST_PORT POST_PATH READ_PATH
 *
 * Prints `ready` once every reader has its answer's head, posts after a line on standard input. */
#include "events.h"

enum line_state { FIELD, DATA, SKIPPED };

typedef struct {
    int fd;
    bool open, streaming;
    response answer;
    enum line_state line;
    bool control; /* the current event is not the stream's data */
    size_t field_length;
    char field[24];
    inbox box;
    int64_t now;
} reader;

static char buffer[1 << 18];

/* The part of a line up to its meaning: `data:` or a whole short line of another kind. */
static void take_field(reader *r, char c) {
    if (r->field_length < sizeof r->field - 1) r->field[r->field_length++] = c;
    r->field[r->field_length] = 0;
    if (c == '\n') {
        if (!strcmp(r->field, "event: control\n") || !strcmp(r->field, "event:control\n"))
            r->control = true;
        else if (!strcmp(r->field, "\n")) r->control = false;
        r->field_length = 0;
    } else if (!strcmp(r->field, "data:")) {
        r->line = r->control ? SKIPPED : DATA;
    }
}

static void on_body(void *owner, const char *data, size_t length) {
    reader *r = owner;
    for (const char *at = data, *end = data + length; at < end;) {
        if (r->line == FIELD) {
            take_field(r, *at++);
            continue;
        }
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        if (r->line == DATA) inbox_feed(&r->box, at, (size_t)(stop - at), r->now);
        at = stop;
        if (!newline) continue;
        if (r->box.have) die("a line ends within an event");
        r->line = FIELD;
        r->field_length = 0;
        at++;
    }
}

static void on_header(void *owner, const char *name, const char *value) {
    reader *r = owner;
    if (!strcasecmp(name, "content-type") && !strncasecmp(value, "text/event-stream", 17))
        r->streaming = true;
}

static void read_one(void *owner) {
    static const sink taken = {on_header, on_body};
    reader *r = owner;
    size_t length = receive(r->fd, buffer, sizeof buffer);
    r->now = now_ns();
    response_feed(&r->answer, &taken, r, buffer, length);
    if (r->answer.state == COMPLETE || (r->answer.status && r->answer.status != 200))
        die("a reader was answered with %d or its stream ended", r->answer.status);
}

static void ask(reader *r, const char *path) {
    char request[LINE_MAX_BYTES];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n",
                          path);
    if (length >= (int)sizeof request) die("the path is too long");
    response_start(&r->answer);
    transmit(r->fd, request, (size_t)length);
}

/* Opens readers a hundred at a time, so that no accept queue overflows. */
static void open_all(reader *all, int count, int port, int poll, const char *path) {
    struct epoll_event ready[100];
    int64_t give_up = now_ns() + GIVE_UP;
    for (int dialled = 0, opened = 0; opened < count;) {
        for (; dialled < count && dialled - opened < 100; dialled++) {
            reader *r = &all[dialled];
            r->fd = dial(port);
            r->box.next = dialled % streams;
            watch(poll, r->fd, r);
            ask(r, place(path, dialled));
        }
        int n = wait_until(poll, ready, 100, give_up);
        if (now_ns() > give_up) die("%d of %d readers have been answered", opened, count);
        for (int i = 0; i < n; i++) {
            reader *r = ready[i].data.ptr;
            read_one(r);
            if (r->open || !response_head_done(&r->answer)) continue;
            if (!r->streaming) die("the answer is no event stream");
            r->open = true;
            opened++;
        }
    }
}

int main(int count, char **arguments) {
    if (count != 9) die("usage: see the head of fanout.c");
    int port = (int)number(arguments[1], 1, 65535);
    int readers = (int)number(arguments[2], 1, 50000);
    events = (int)number(arguments[3], 1, MAX_EVENTS);
    int64_t interval = number(arguments[4], 0, 10000000) * 1000;
    int pid = (int)number(arguments[5], 1, INT32_MAX);
    int post_port = (int)number(arguments[6], 1, 65535);
    count_streams(arguments[7], readers);

    int poll = epoll_create1(0);
    reader *all = allocate((size_t)readers, sizeof *all);
    open_all(all, readers, port, poll, arguments[8]);
    hold();

    poster writer;
    window measured;
    poster_open(&writer, post_port, arguments[7], poll);
    run_events(&writer, poll, &measured, pid, readers, interval, read_one);
    print_events(readers, &measured, &writer);
    printf("}\n");
    return 0;
}
