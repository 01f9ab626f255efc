/* Catch-up: each connection reads a stream from its beginning to its tail, again and again.
 *
 *   walk PORT MILLISECONDS SERVER_PID RECORD_BYTES PATH...
 *
 * One connection a path. Stream i has what the i-th connection of `load post` appends when it is
 * the only one on that path. Sleeps while it waits, since the server behind the one that is asked
 * may share its core. */
#include "wire.h"

#define TOKEN_BYTES 128
#define COUNT_AT 4
#define COUNT_DIGITS 9

typedef struct {
    int fd;
    const char *path;
    response answer;
    int64_t sent;
    char offset[TOKEN_BYTES];
    bool up_to_date;
    char *record;       /* the one that is being read */
    size_t within;      /* bytes of it that have come */
    size_t position;    /* bytes of the stream that have come */
    size_t length;      /* of the stream, once its tail has been reached */
} walker;

static size_t record_bytes;

static void on_header(void *owner, const char *name, const char *value) {
    walker *w = owner;
    if (!strcasecmp(name, "stream-next-offset")) {
        if (strlen(value) >= TOKEN_BYTES) die("%s: too long for an offset", value);
        strcpy(w->offset, value);
    }
    if (!strcasecmp(name, "stream-up-to-date") && !strcasecmp(value, "true")) w->up_to_date = true;
}

static void first_record(walker *w) {
    memset(w->record + COUNT_AT, '0', COUNT_DIGITS);
    w->position = w->within = 0;
    strcpy(w->offset, "-1");
}

static void next_record(walker *w) {
    char *digit = w->record + COUNT_AT + COUNT_DIGITS - 1;
    for (; *digit == '9'; digit--) *digit = '0';
    ++*digit;
    w->within = 0;
}

static void on_body(void *owner, const char *data, size_t length) {
    walker *w = owner;
    for (const char *end = data + length; data < end;) {
        size_t take = record_bytes - w->within;
        if (take > (size_t)(end - data)) take = (size_t)(end - data);
        if (w->answer.status != 200 || memcmp(data, w->record + w->within, take))
            die("%s: status %d, a wrong byte from %zu on: %.*s", w->path, w->answer.status,
                w->position, (int)take, data);
        data += take;
        w->position += take;
        w->within += take;
        if (w->within == record_bytes) next_record(w);
    }
}

static void ask(walker *w) {
    char request[LINE_MAX_BYTES];
    int length = snprintf(request, sizeof request, "GET %s?offset=%s HTTP/1.1\r\n"
                          "Host: 127.0.0.1\r\n\r\n", w->path, w->offset);
    if (length >= (int)sizeof request) die("the path is too long");
    response_start(&w->answer);
    *w->offset = 0;
    w->up_to_date = false;
    w->sent = now_ns();
    transmit(w->fd, request, (size_t)length);
}

/* After an answer: on from where it ended, or from the beginning again. */
static void turn(walker *w) {
    if (w->answer.status != 200) die("%s: status %d", w->path, w->answer.status);
    if (!*w->offset) die("%s: an answer names no next offset", w->path);
    if (!w->up_to_date) return;
    if (w->within) die("%s ends within a record", w->path);
    if (w->length && w->length != w->position)
        die("%s has had %zu bytes, now %zu", w->path, w->length, w->position);
    w->length = w->position;
    first_record(w);
}

static void open_walker(walker *w, int index, int port, const char *path) {
    w->path = path;
    char writer[16];
    snprintf(writer, sizeof writer, "%03d ", index);
    w->record = allocate(record_bytes, 1);
    memset(w->record, '.', record_bytes);
    memcpy(w->record, writer, COUNT_AT);
    w->record[record_bytes - 1] = '\n';
    first_record(w);
    w->fd = dial(port);
}

/* Whether the answer is whole. */
static bool answered(walker *w) {
    static const sink taken = {on_header, on_body};
    static char buffer[1 << 18];
    size_t length = receive(w->fd, buffer, sizeof buffer);
    if (response_feed(&w->answer, &taken, w, buffer, length) != length)
        die("bytes follow an answer");
    return w->answer.state == COMPLETE;
}

int main(int count, char **arguments) {
    if (count < 6) die("usage: see the head of walk.c");
    int port = (int)number(arguments[1], 1, 65535);
    int64_t lasts = number(arguments[2], 1, 3600000) * MS;
    int pid = (int)number(arguments[3], 1, INT32_MAX);
    record_bytes = (size_t)number(arguments[4], COUNT_AT + COUNT_DIGITS + 1, 1 << 20);
    int walkers = count - 5;
    if (walkers > 999) die("a record's name has room for 999 streams");

    int poll = epoll_create1(0);
    walker *all = allocate((size_t)walkers, sizeof *all);
    for (int i = 0; i < walkers; i++) {
        open_walker(&all[i], i, port, arguments[5 + i]);
        watch(poll, all[i].fd, &all[i]);
    }

    static struct epoll_event ready[256];
    samples latency = {0};
    window measured;
    size_t bytes = 0, tails = 0;
    window_open(&measured, pid);
    int64_t stop = measured.began + lasts, give_up = stop + 60 * SECOND;
    for (int i = 0; i < walkers; i++) ask(&all[i]);
    /* Whoever has not been to its tail by the end still goes there. */
    for (int busy = walkers; busy;) {
        int n = wait_until(poll, ready, 256, give_up);
        if (!n && now_ns() > give_up) die("%d reads were never answered", busy);
        for (int i = 0; i < n; i++) {
            walker *w = ready[i].data.ptr;
            size_t before = w->position;
            bool whole = answered(w);
            bytes += w->position - before;
            if (!whole) continue;
            turn(w);
            int64_t now = now_ns();
            sample(&latency, now - w->sent);
            if (now < stop || !w->length) ask(w);
            else busy--;
        }
    }
    window_close(&measured);
    for (int i = 0; i < walkers; i++) tails += all[i].length;
    printf("{\"requests\": %zu, \"per_s\": %.1f, \"mb_per_s\": %.2f, \"streams_bytes\": %zu",
           latency.count, (double)latency.count / measured.seconds,
           (double)bytes / 1e6 / measured.seconds, tails);
    print_samples("", &latency);
    print_window(&measured);
    printf("}\n");
    return 0;
}
