/* Closed loop: every connection sends its next request when the last one is answered.
 *
 *   load get  PORT CONNECTIONS MILLISECONDS SERVER_PID BODY_FILE PATH
 *   load post PORT CONNECTIONS MILLISECONDS SERVER_PID RECORD_BYTES PATH...
 *
 * `get` compares every body with the file, byte by byte. `post` appends records that name their
 * connection and count up, so that the log itself can be checked afterwards; connection i writes
 * to path i modulo their number. */
#include "wire.h"

typedef struct {
    int fd;
    response answer;
    int64_t sent;
    size_t got;         /* bytes of the body so far */
    bool has_offset;    /* the answer to an append names the next offset */
    char *request;
    size_t length;
    char *record;       /* within the request */
    long records;
} connection;

static bool appending;
static const char *expected;
static size_t expected_length;
static long record_bytes;

static void on_header(void *owner, const char *name, const char *value) {
    connection *c = owner;
    if (!strcasecmp(name, "stream-next-offset") && *value) c->has_offset = true;
}

static void on_body(void *owner, const char *data, size_t length) {
    connection *c = owner;
    if (!appending && (c->answer.status != 200 || c->got + length > expected_length ||
                       memcmp(expected + c->got, data, length)))
        die("status %d, a wrong body from byte %zu on: %.*s", c->answer.status, c->got,
            (int)(length < 200 ? length : 200), data);
    c->got += length;
}

static const sink answers = {on_header, on_body};

static void ask(connection *c, int index) {
    if (appending) {
        char count[16];
        snprintf(count, sizeof count, "%03d %09ld", index, c->records++);
        memcpy(c->record, count, 13);
    }
    response_start(&c->answer);
    c->got = 0;
    c->has_offset = false;
    c->sent = now_ns();
    transmit(c->fd, c->request, c->length);
}

static void check(const connection *c) {
    int status = c->answer.status;
    if (appending && ((status != 204 && status != 200) || !c->has_offset))
        die("an append was answered with %d", status);
    if (!appending && (status != 200 || c->got != expected_length))
        die("status %d with %zu bytes instead of %zu", status, c->got, expected_length);
}

static void prepare(connection *c, const char *path) {
    char head[LINE_MAX_BYTES];
    int length = appending
                     ? snprintf(head, sizeof head,
                                "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain"
                                "\r\nContent-Length: %ld\r\n\r\n", path, record_bytes)
                     : snprintf(head, sizeof head,
                                "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    if (length >= (int)sizeof head) die("the path is too long");
    c->length = (size_t)(length + (appending ? record_bytes : 0));
    c->request = allocate(c->length, 1);
    memcpy(c->request, head, (size_t)length);
    if (!appending) return;
    c->record = c->request + length;
    memset(c->record, '.', (size_t)record_bytes);
    c->record[record_bytes - 1] = '\n';
}

static void read_expected(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    expected_length = (size_t)ftell(file);
    rewind(file);
    char *bytes = allocate(expected_length, 1);
    if (fread(bytes, 1, expected_length, file) != expected_length) die("%s: not read", path);
    fclose(file);
    expected = bytes;
}

#define LOOK_NS 200000

/* Looks for answers for a while before it sleeps. In a closed loop each answer would find the tool
 * asleep, and waking its core would cost the server several microseconds (on virtual machines
 * most of all) that no client on another machine costs it. Looking in vain is kept apart. */
static int look(int poll, struct epoll_event *ready, int room, int64_t until) {
    int64_t now = now_ns(), end = now + LOOK_NS;
    int count;
    while (!(count = epoll_wait(poll, ready, room, 0)) && now < end) {
        int64_t before = now;
        now = now_ns();
        looked_ns += now - before;
    }
    return count ? count : wait_until(poll, ready, room, until);
}

int main(int count, char **arguments) {
    if (count < 8) die("usage: see the head of load.c");
    appending = !strcmp(arguments[1], "post");
    if (!appending && strcmp(arguments[1], "get")) die("get or post, not %s", arguments[1]);
    int port = (int)number(arguments[2], 1, 65535);
    int connections = (int)number(arguments[3], 1, 999);
    int64_t lasts = number(arguments[4], 1, 3600000) * MS;
    int pid = (int)number(arguments[5], 1, INT32_MAX);
    if (appending) record_bytes = number(arguments[6], 14, 1 << 20);
    else read_expected(arguments[6]);
    char **paths = arguments + 7;
    int path_count = count - 7;

    int poll = epoll_create1(0);
    connection *all = allocate((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        prepare(&all[i], paths[i % path_count]);
        all[i].fd = dial(port);
        watch(poll, all[i].fd, &all[i]);
    }

    static char buffer[1 << 18];
    static struct epoll_event ready[1024];
    samples latency = {0};
    window measured;
    window_open(&measured, pid);
    int64_t stop = measured.began + lasts, give_up = stop + 60 * SECOND;
    for (int i = 0; i < connections; i++) ask(&all[i], i);
    /* Nothing is asked after the end, but everything that was asked is answered. */
    for (int busy = connections; busy;) {
        int n = look(poll, ready, 1024, give_up);
        if (!n && now_ns() > give_up) die("%d requests were never answered", busy);
        for (int i = 0; i < n; i++) {
            connection *c = ready[i].data.ptr;
            size_t length = receive(c->fd, buffer, sizeof buffer);
            size_t taken = response_feed(&c->answer, &answers, c, buffer, length);
            if (taken != length) die("%zu bytes follow an answer", length - taken);
            if (c->answer.state != COMPLETE) continue;
            check(c);
            int64_t now = now_ns();
            sample(&latency, now - c->sent);
            if (now < stop) ask(c, (int)(c - all));
            else busy--;
        }
    }
    window_close(&measured);
    printf("{\"requests\": %zu, \"per_s\": %.1f", latency.count,
           (double)latency.count / measured.seconds);
    print_samples(&latency);
    print_window(&measured);
    printf("}\n");
    return 0;
}
