/* Thousands of SSE readers of one stream in one thread, each comparing every byte it gets.
 *
 *   swarm PORT PATH CONTENT_FILE READERS SILENT [OFFSET]
 *
 * The stream is text whose whole content will be that of CONTENT_FILE, which holds no line break.
 * All begin at OFFSET, where nothing of the content is there yet, or at -1.
 * The last SILENT of the READERS stop reading after their first control event. A line of JSON tells
 * when every reader has had one. A reader whose connection ends goes on from its last control
 * event, until one says that the stream is closed. Then a second line sums up.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECEIVE = 1 << 18, RETRY_MS = 250 };

/* Where a reader is in the framing: response head, size line of an HTTP chunk, its content. */
enum framing { HEAD, CHUNK_SIZE, CHUNK, CHUNK_END, LAST_CHUNK };

/* Where a reader is in a line of the event stream. */
enum place { FIELD, MAYBE_SPACE, PAYLOAD };

struct line {
    size_t length;
    char text[1024];
};

struct reader {
    int fd;
    bool silent, ready, complete, sent, data_event, had_data_line;
    enum framing framing;
    enum place place;
    long retry_at;
    size_t left;              /* of the HTTP chunk */
    size_t at, confirmed;     /* bytes compared; of those, up to the last control event */
    struct line head, event;  /* what came of the line in hand, of the framing and of the events */
    char offset[128], cursor[128];
};

static struct reader *readers;
static int count, silent_count, epoll, port;
static const char *path, *content;
static size_t content_size;
static long received, ready, complete, ends, cuts, refused, failed_connects;

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void fail(struct reader *r, const char *what) {
    printf("{\"failed\": \"%s\", \"reader\": %d, \"at\": %zu}\n", what, (int)(r - readers), r->at);
    fflush(stdout);
    exit(1);
}

static void retry_later(struct reader *r) {
    if (r->fd >= 0) close(r->fd);
    r->fd = -1;
    r->retry_at = now_ms() + RETRY_MS;
}

static void start(struct reader *r) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT, .data.ptr = r};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    r->framing = HEAD;
    r->place = FIELD;
    r->sent = r->data_event = r->had_data_line = false;
    r->left = r->head.length = r->event.length = 0;
    r->at = r->confirmed;
    r->retry_at = 0;
    if (r->fd < 0) fail(r, "no file descriptor left");
    if (connect(r->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        failed_connects++;
        retry_later(r);
        return;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, r->fd, &interest);
}

static void send_request(struct reader *r) {
    char text[1024];
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = r};
    int size = snprintf(text, sizeof text,
                        "GET %s?offset=%s&live=sse%s%s HTTP/1.1\r\nHost: localhost\r\n\r\n", path,
                        r->offset, *r->cursor ? "&cursor=" : "", r->cursor);
    if (send(r->fd, text, size, MSG_NOSIGNAL) != size) {
        failed_connects++;
        retry_later(r);
        return;
    }
    r->sent = true;
    epoll_ctl(epoll, EPOLL_CTL_MOD, r->fd, &interest);
}

/* The value of a string member of a control event, copied to `to` when there is one. */
static void member(const char *json, const char *name, char *to, size_t size) {
    const char *from = strstr(json, name);
    if (!from || !(from = strchr(from + strlen(name), ':')) || !(from = strchr(from, '"'))) return;
    size_t length = strcspn(++from, "\"");
    if (length >= size) length = size - 1;
    memcpy(to, from, length);
    to[length] = 0;
}

static void control(struct reader *r, const char *json) {
    member(json, "\"streamNextOffset\"", r->offset, sizeof r->offset);
    member(json, "\"streamCursor\"", r->cursor, sizeof r->cursor);
    r->confirmed = r->at;
    if (!r->ready) {
        r->ready = true;
        ready++;
        if (r->silent) epoll_ctl(epoll, EPOLL_CTL_DEL, r->fd, NULL);
    }
    if (strstr(json, "\"streamClosed\"")) {
        if (r->at != content_size) fail(r, "closed before its end");
        r->complete = true;
        complete++;
    }
}

/* Add a byte to a line; true when that made it whole, without its end. */
static bool extend(struct reader *r, struct line *line, char byte) {
    if (byte == '\n') {
        if (line->length && line->text[line->length - 1] == '\r') line->length--;
        line->text[line->length] = 0;
        return true;
    }
    if (line->length + 1 >= sizeof line->text) fail(r, "a line is too long");
    line->text[line->length++] = byte;
    return false;
}

static void event_line(struct reader *r) {
    const char *text = r->event.text;
    if (!*text) r->data_event = r->had_data_line = false;
    else if (!strncmp(text, "event:", 6)) r->data_event = strstr(text, "data") != NULL;
    else if (!strncmp(text, "data:", 5)) control(r, text + 5);
    r->event.length = 0;
}

static void compare(struct reader *r, const char *data, size_t size) {
    if (r->at + size > content_size || memcmp(content + r->at, data, size))
        fail(r, "a byte differs");
    r->at += size;
}

static void events(struct reader *r, const char *data, size_t size) {
    const char *end = data + size;
    while (data < end && !(r->silent && r->ready)) {
        if (r->place == PAYLOAD) {
            const char *stop = memchr(data, '\n', end - data);
            compare(r, data, (stop ? stop : end) - data);
            data = stop ? stop + 1 : end;
            if (stop) r->place = FIELD;
        } else if (r->place == MAYBE_SPACE) {
            if (r->had_data_line) compare(r, "\n", 1);
            r->had_data_line = true;
            data += *data == ' ';
            r->place = PAYLOAD;
        } else if (extend(r, &r->event, *data++)) {
            event_line(r);
        } else if (r->data_event && r->event.length == 5 && !memcmp(r->event.text, "data:", 5)) {
            r->place = MAYBE_SPACE;
            r->event.length = 0;
        }
    }
}

/* Returns false when the response is not one to read on. */
static bool head_line(struct reader *r) {
    const char *text = r->head.text;
    if (!*text) r->framing = CHUNK_SIZE;
    if (strncmp(text, "HTTP/1.1 ", 9)) return true;
    int status = atoi(text + 9);
    if (status == 200) return true;
    if (status != 503 && status != 429) fail(r, "an unexpected status");
    refused++;
    return false;
}

/* Everything that one receive brought; false when the connection is of no more use. */
static bool take(struct reader *r, const char *data, size_t size) {
    const char *end = data + size;
    while (data < end && !r->complete && !(r->silent && r->ready)) {
        if (r->framing == CHUNK) {
            size_t part = (size_t)(end - data) < r->left ? (size_t)(end - data) : r->left;
            events(r, data, part);
            data += part;
            if (!(r->left -= part)) r->framing = CHUNK_END;
            continue;
        }
        char byte = *data++;
        if (r->framing == CHUNK_END) {
            if (byte == '\n') r->framing = CHUNK_SIZE;
        } else if (r->framing == LAST_CHUNK) {
            if (byte != '\n') continue;
            ends++;
            return false;
        } else if (extend(r, &r->head, byte)) {
            if (r->framing == HEAD) {
                if (!head_line(r)) return false;
            } else {
                r->left = strtoul(r->head.text, NULL, 16);
                r->framing = r->left ? CHUNK : LAST_CHUNK;
            }
            r->head.length = 0;
        }
    }
    return true;
}

static void receive(struct reader *r) {
    static char buffer[RECEIVE];
    ssize_t size = recv(r->fd, buffer, sizeof buffer, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size > 0) received += size;
    if (size <= 0) cuts++;
    bool usable = size > 0 && take(r, buffer, size);
    if (r->complete) close(r->fd), r->fd = -1;
    else if (!usable) retry_later(r);
}

static void restart_due(void) {
    static long next;
    long now = now_ms();
    if (now < next) return;
    next = now + 50;
    for (struct reader *r = readers; r < readers + count; r++)
        if (r->fd < 0 && !r->complete && r->retry_at <= now) start(r);
}

static void map_content(const char *name) {
    struct stat status;
    int fd = open(name, O_RDONLY);
    if (fd < 0 || fstat(fd, &status)) perror(name), exit(2);
    content_size = status.st_size;
    content = mmap(NULL, content_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (content == MAP_FAILED) perror(name), exit(2);
}

int main(int arguments, char **values) {
    struct epoll_event happened[512];
    bool said_ready = false;
    if (arguments != 6 && arguments != 7) return 2;
    port = atoi(values[1]);
    path = values[2];
    map_content(values[3]);
    count = atoi(values[4]);
    silent_count = atoi(values[5]);
    epoll = epoll_create1(0);
    readers = calloc(count, sizeof *readers);
    for (int i = 0; i < count; i++) {
        readers[i].fd = -1;
        readers[i].silent = i >= count - silent_count;
        strcpy(readers[i].offset, arguments == 7 ? values[6] : "-1");
    }
    while (complete < count - silent_count) {
        restart_due();
        int found = epoll_wait(epoll, happened, 512, 50);
        for (int i = 0; i < found; i++) {
            struct reader *r = happened[i].data.ptr;
            if (!r->sent) send_request(r);
            else receive(r);
        }
        if (ready == count && !said_ready) {
            said_ready = true;
            printf("{\"ready\": %ld}\n", ready);
            fflush(stdout);
        }
    }
    printf("{\"complete\": %ld, \"received\": %ld, \"ends\": %ld, \"cuts\": %ld, "
           "\"refused\": %ld, \"failed_connects\": %ld}\n",
           complete, received, ends, cuts, refused, failed_connects);
    return 0;
}
