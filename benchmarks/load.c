/* Closed loop: every connection sends its next request when the last one is answered.
 *
 *   load [asleep] get   PORT CONNECTIONS MILLISECONDS SERVER_PID BODY_FILE PATH
 *   load [asleep] fresh PORT CONNECTIONS MILLISECONDS SERVER_PID BODY_FILE PATH
 *   load [asleep] part  PORT CONNECTIONS MILLISECONDS SERVER_PID BODY_FILE PATH
 *   load [asleep] head  PORT CONNECTIONS MILLISECONDS SERVER_PID BODY_FILE PATH
 *   load [asleep] miss  PORT CONNECTIONS MILLISECONDS SERVER_PID BODY_FILE PATH?QUERY
 *   load [asleep] post  PORT[,PORT] CONNECTIONS MILLISECONDS SERVER_PID RECORD_BYTES PATH...
 *   load [asleep] put   PORT CONNECTIONS MILLISECONDS SERVER_PID 0 PATH*STREAMS
 *
 * All but `post` and `put` compare every body with the file, byte by byte. `fresh` asks each time on a new
 * connection, to be closed by the server: the answer is there when its end has come. `part` is for a
 * line `Range` and takes only a 206. `head` asks by HEAD, and each answer has to name the next offset,
 * and to end with its head. `miss` adds a
 * number to the query that no other request has. `post` appends records that name their connection
 * and count up in each stream, so that the log itself can be checked afterwards; connection i
 * writes to path i modulo their number, or to every such path in turn when there are more paths
 * than connections. Two servers of the same streams have half of the connections each.
 *
 * A path PATH*STREAMS stands for so many, PATH and seven digits. `put` creates them in turn, until
 * all are there. `post` counts all its appends through, and the number of each says by a hash where
 * it goes: so every stream is as likely as any other, and what it has to hold can be told.
 *
 * `asleep` leaves the core while it waits, for a server that shares it. `with` and a header line
 * may come behind it, which is then sent with every request; in a read, its 000-000000000 is a
 * number that no other request has. Then may come `multi` and a number: so many records are in one
 * multi-append, each behind its length. */
#include "wire.h"

typedef struct {
    char *text;
    size_t length;
    char *count;        /* within the text, where it says which one of all it is, or the first */
    char *stream;       /* within the text, the digits of one of many streams */
    long asked;
} request;

typedef struct {
    int fd;
    response answer;
    int64_t sent;
    size_t got;         /* bytes of the body so far */
    bool has_offset;    /* the answer names the next offset */
    request *requests;  /* one for each of its paths, asked in turn */
    int paths, turn;
} connection;

static bool appending, creating, fresh, missing, heading, sleeping;
static int wanted = 200;                         /* the status of a read */
static long streams, asked;                      /* of PATH*STREAMS, and requests to them */
#define DIGITS 7
static int poll, ports[2];
#define COUNT "000-000000000"
#define COUNT_BYTES (sizeof COUNT - 1)

static const char *line = ""; /* without its end */
static const char *expected;
static size_t expected_length;
static long record_bytes, messages = 1, length_bytes; /* of what stands before each */

static void on_header(void *owner, const char *name, const char *value) {
    connection *c = owner;
    if (!strcasecmp(name, "stream-next-offset") && *value) c->has_offset = true;
}

static void on_body(void *owner, const char *data, size_t length) {
    connection *c = owner;
    if (!appending && (c->answer.status != wanted || c->got + length > expected_length ||
                       memcmp(expected + c->got, data, length)))
        die("status %d, a wrong body from byte %zu on: %.*s", c->answer.status, c->got,
            (int)(length < 200 ? length : 200), data);
    c->got += length;
}

static const sink answers = {on_header, on_body};

/* The last step of splitmix64: numbers in a row come out as if they were drawn. */
static uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void choose(request *r) {
    char digits[DIGITS + 13];
    uint64_t which = creating ? (uint64_t)asked : mixed((uint64_t)asked + 1) % (uint64_t)streams;
    snprintf(digits, sizeof digits, "%0*u", DIGITS, (unsigned)which);
    memcpy(r->stream, digits, DIGITS);
    r->asked = asked++;
}

static void ask(connection *c, int index) {
    request *r = &c->requests[c->turn];
    c->turn = (c->turn + 1) % c->paths;
    if (r->stream) choose(r);
    for (long i = 0; r->count && i < messages; i++) {
        char count[16];
        snprintf(count, sizeof count, "%03d%c%09ld", index, appending ? ' ' : '-', r->asked++);
        memcpy(r->count + i * (length_bytes + record_bytes), count, COUNT_BYTES);
    }
    response_start(&c->answer);
    c->answer.to_head = heading;
    c->got = 0;
    c->has_offset = false;
    c->sent = now_ns();
    if (fresh) {
        c->fd = dial(ports[0]);
        watch(poll, c->fd, c);
    }
    transmit(c->fd, r->text, r->length);
}

static void check(const connection *c) {
    int status = c->answer.status;
    if (creating && status != 201) die("a creation was answered with %d", status);
    if (creating) return;
    if (appending && ((status != 204 && status != 200) || !c->has_offset))
        die("an append was answered with %d", status);
    if (heading && (status != 200 || !c->has_offset)) die("a HEAD was answered with %d", status);
    if (heading) return;
    if (!appending && (status != wanted || c->got != expected_length))
        die("status %d with %zu bytes instead of %zu", status, c->got, expected_length);
}

static void prepare(request *r, const char *path) {
    char head[LINE_MAX_BYTES], more[128] = "";
    long body_bytes = messages * (length_bytes + record_bytes);
    if (appending)
        snprintf(more, sizeof more, "%sContent-Type: text/plain\r\nContent-Length: %ld\r\n",
                 length_bytes ? "X-Stream-Multi: true\r\n" : "", body_bytes);
    if (fresh) snprintf(more, sizeof more, "Connection: close\r\n");
    const char *many = strchr(path, '*');
    int length = snprintf(head, sizeof head, "%s %.*s%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s%s\r\n",
                          creating ? "PUT" : appending ? "POST" : heading ? "HEAD" : "GET",
                          (int)(many ? many - path : (long)strlen(path)), path,
                          many ? "0000000" : missing ? "&n=" COUNT : "", line,
                          *line ? "\r\n" : "", more);
    if (length >= (int)sizeof head) die("the path is too long");
    r->length = (size_t)(length + (appending ? body_bytes : 0));
    r->text = allocate(r->length, 1);
    memcpy(r->text, head, (size_t)length);
    const char *count = strstr(head, COUNT);
    if (count) r->count = r->text + (count - head);
    if (many) r->stream = r->text + (strstr(head, " HTTP/1.1") - head) - DIGITS;
    if (many) streams = number(strdup(many + 1), 1, 9999999);
    if (!appending || creating) return;
    r->count = r->text + length + length_bytes;
    for (char *record = r->count; record < r->text + r->length; record += length_bytes + record_bytes) {
        for (long i = 0; i < length_bytes; i++) record[-1 - i] = (char)(record_bytes >> 8 * i);
        memset(record, '.', (size_t)record_bytes);
        record[record_bytes - 1] = '\n';
    }
}

static void prepare_all(connection *c, char **paths, int count, int index, int connections) {
    c->paths = index < count ? (count - index - 1) / connections + 1 : 1;
    c->requests = allocate((size_t)c->paths, sizeof *c->requests);
    for (int k = 0; k < c->paths; k++)
        prepare(&c->requests[k], paths[(index + k * connections) % count]);
}

static void read_ports(char *text) {
    char *second = strchr(text, ',');
    if (second) *second++ = 0;
    ports[0] = (int)number(text, 1, 65535);
    ports[1] = second ? (int)number(second, 1, 65535) : ports[0];
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

/* Whether the answer is whole: on a fresh connection only when the server has ended that. */
static bool answered(connection *c) {
    static char buffer[1 << 16];
    for (;;) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        bool ended = n == 0 && fresh && c->answer.state == COMPLETE;
        if (n < 0 && errno == EAGAIN) return false;
        if (n <= 0 && !ended)
            die("the server ended a connection: %s", n ? strerror(errno) : "end of file");
        size_t length = (size_t)n;
        size_t taken = response_feed(&c->answer, &answers, c, buffer, length);
        if (taken != length) die("%zu bytes follow an answer", length - taken);
        if (ended) close(c->fd);
        if (ended || (c->answer.state == COMPLETE && !fresh)) return true;
        if (length < sizeof buffer && c->answer.state != COMPLETE) return false;
    }
}

#define LOOK_NS 200000

/* Looks for answers for a while before it sleeps. In a closed loop each answer would find the tool
 * asleep, and waking its core would cost the server several microseconds (on virtual machines
 * most of all) that no client on another machine costs it. Looking in vain is kept apart. */
static int look(struct epoll_event *ready, int room, int64_t until) {
    int64_t now = now_ns(), end = now + (sleeping ? 0 : LOOK_NS);
    int count;
    while (!(count = epoll_wait(poll, ready, room, 0)) && now < end) {
        int64_t before = now;
        now = now_ns();
        looked_ns += now - before;
    }
    return count ? count : wait_until(poll, ready, room, until);
}

int main(int count, char **arguments) {
    sleeping = count > 1 && !strcmp(arguments[1], "asleep");
    arguments += sleeping;
    count -= sleeping;
    if (count > 2 && !strcmp(arguments[1], "with")) {
        line = arguments[2];
        arguments += 2;
        count -= 2;
    }
    if (count > 2 && !strcmp(arguments[1], "multi")) {
        messages = number(arguments[2], 1, 4096);
        length_bytes = 4;
        arguments += 2;
        count -= 2;
    }
    if (count < 8) die("usage: see the head of load.c");
    creating = !strcmp(arguments[1], "put");
    appending = creating || !strcmp(arguments[1], "post");
    fresh = !strcmp(arguments[1], "fresh");
    missing = !strcmp(arguments[1], "miss");
    heading = !strcmp(arguments[1], "head");
    if (!strcmp(arguments[1], "part")) wanted = 206;
    if (!appending && !fresh && !missing && !heading && wanted == 200 && strcmp(arguments[1], "get"))
        die("get, fresh, part, head, miss, post or put, not %s", arguments[1]);
    read_ports(arguments[2]);
    int connections = (int)number(arguments[3], 1, 999);
    int64_t lasts = number(arguments[4], 1, 3600000) * MS;
    int pid = (int)number(arguments[5], 1, INT32_MAX);
    if (appending) record_bytes = number(arguments[6], creating ? 0 : 14, 1 << 20);
    else read_expected(arguments[6]);
    char **paths = arguments + 7;
    int path_count = count - 7;

    if (creating && (!strchr(paths[0], '*') || record_bytes)) die("put needs 0 and PATH*STREAMS");

    poll = epoll_create1(0);
    connection *all = allocate((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        prepare_all(&all[i], paths, path_count, i, connections);
        if (fresh) continue;
        all[i].fd = dial(ports[2 * i / connections]);
        watch(poll, all[i].fd, &all[i]);
    }

    static struct epoll_event ready[1024];
    samples latency = {0};
    window measured;
    window_open(&measured, pid);
    int64_t stop = measured.began + lasts, give_up = stop + 60 * SECOND;
    for (int i = 0; i < connections; i++) ask(&all[i], i);
    /* Nothing is asked after the end, but everything that was asked is answered. */
    for (int busy = connections; busy;) {
        int n = look(ready, 1024, give_up);
        if (!n && now_ns() > give_up) die("%d requests were never answered", busy);
        for (int i = 0; i < n; i++) {
            connection *c = ready[i].data.ptr;
            if (!answered(c)) continue;
            check(c);
            int64_t now = now_ns();
            sample(&latency, now - c->sent);
            if (now < stop && !(creating && asked == streams)) ask(c, (int)(c - all));
            else busy--;
        }
    }
    window_close(&measured);
    printf("{\"requests\": %zu, \"per_s\": %.1f", latency.count,
           (double)latency.count / measured.seconds);
    print_samples("", &latency);
    print_window(&measured);
    printf("}\n");
    return 0;
}
