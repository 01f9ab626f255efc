/* Thousands of readers of one text stream in one thread, each comparing every byte it gets.
 *
 *   viewers PORT PATH CONTENT_FILE VIEWERS STYLE [OFFSET]
 *
 * The stream's whole content will be that of CONTENT_FILE. With STYLE `poll` a viewer long-polls
 * from the beginning on; with `client` it does what the official client does, and reads what there
 * is before it goes live, without a cursor until it was given one. Both go on until they are told
 * that the stream is closed. With `catch-up` it never goes live and ends with the content. They
 * begin at OFFSET, where nothing of the content is there yet, or at -1.
 *
 * All connect first; a line of JSON tells when all have asked. A second one sums up. */
#include "wire.h"

#define TOKEN_BYTES 128
#define GIVE_UP (300 * SECOND)

typedef struct {
    int fd;
    bool live, up_to_date, closed;
    response answer;
    char offset[TOKEN_BYTES], cursor[TOKEN_BYTES];
    size_t at, before; /* bytes compared, now and when it asked */
} viewer;

static const char *path, *content;
static size_t content_size;
static bool never_live;
static long complete, answers_200, answers_204;

static void keep_token(char *into, const char *value) {
    const char *plain = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~";
    if (strlen(value) >= TOKEN_BYTES || value[strspn(value, plain)])
        die("%s: not fit for a query", value);
    strcpy(into, value);
}

static void on_header(void *owner, const char *name, const char *value) {
    viewer *v = owner;
    if (!strcasecmp(name, "stream-next-offset")) keep_token(v->offset, value);
    if (!strcasecmp(name, "stream-cursor")) keep_token(v->cursor, value);
    if (!strcasecmp(name, "stream-up-to-date")) v->up_to_date = !strcmp(value, "true");
    if (!strcasecmp(name, "stream-closed")) v->closed = !strcmp(value, "true");
}

static void on_body(void *owner, const char *data, size_t length) {
    viewer *v = owner;
    if (v->answer.status != 200)
        die("status %d: %.*s", v->answer.status, (int)(length < 500 ? length : 500), data);
    if (v->at + length > content_size || memcmp(content + v->at, data, length))
        die("a byte differs in the %zu from %zu on, of an answer that begins at %zu", length, v->at,
            v->before);
    v->at += length;
}

static void ask(viewer *v) {
    char request[LINE_MAX_BYTES];
    int length = snprintf(request, sizeof request,
                          "GET %s?offset=%s%s%s%s HTTP/1.1\r\nHost: localhost\r\n\r\n", path,
                          v->offset, v->live ? "&live=long-poll" : "",
                          v->live && *v->cursor ? "&cursor=" : "", v->live ? v->cursor : "");
    if (length >= (int)sizeof request) die("the path is too long");
    response_start(&v->answer);
    v->up_to_date = v->closed = false;
    v->before = v->at;
    *v->offset = 0;
    transmit(v->fd, request, (size_t)length);
}

/* A 204 is a poll without news; a 200 has some, but for the first one and the last. */
static void check(const viewer *v) {
    int status = v->answer.status;
    if (status == 200) answers_200++;
    else if (status == 204 && v->live) answers_204++;
    else die("status %d", status);
    if (!*v->offset) die("an answer names no next offset");
    if (status == 200 && v->at == v->before && v->at && !v->closed && !v->up_to_date)
        die("an empty answer from %zu on that is not the tail", v->at);
    if (v->closed && v->at != content_size) die("closed at %zu of %zu", v->at, content_size);
}

static bool is_complete(const viewer *v) {
    return v->closed || (never_live && v->at == content_size);
}

static void read_one(viewer *v) {
    static char buffer[1 << 18];
    static const sink answers = {on_header, on_body};
    size_t length = receive(v->fd, buffer, sizeof buffer);
    if (response_feed(&v->answer, &answers, v, buffer, length) != length)
        die("bytes follow an answer");
    if (v->answer.state != COMPLETE) return;
    check(v);
    v->live |= v->up_to_date && !never_live;
    if (is_complete(v)) {
        close(v->fd);
        complete++;
    } else {
        ask(v);
    }
}

static void read_content(const char *name) {
    FILE *file = fopen(name, "r");
    if (!file) die("%s: %s", name, strerror(errno));
    fseek(file, 0, SEEK_END);
    content_size = (size_t)ftell(file);
    rewind(file);
    char *bytes = allocate(content_size, 1);
    if (fread(bytes, 1, content_size, file) != content_size) die("%s: not read", name);
    fclose(file);
    content = bytes;
}

int main(int arguments, char **values) {
    if (arguments != 6 && arguments != 7) die("usage: see the head of viewers.c");
    const char *start = arguments == 7 ? values[6] : "-1";
    int port = (int)number(values[1], 1, 65535);
    path = values[2];
    read_content(values[3]);
    int count = (int)number(values[4], 1, 50000);
    bool live = !strcmp(values[5], "poll");
    never_live = !strcmp(values[5], "catch-up");
    if (!live && !never_live && strcmp(values[5], "client")) die("no style %s", values[5]);

    int poll = epoll_create1(0);
    viewer *all = allocate((size_t)count, sizeof *all);
    for (int i = 0; i < count; i++) {
        all[i].fd = dial(port);
        all[i].live = live;
        keep_token(all[i].offset, start);
        watch(poll, all[i].fd, &all[i]);
    }
    int64_t began = now_ns(), give_up = began + GIVE_UP;
    for (int i = 0; i < count; i++) ask(&all[i]);
    printf("{\"ready\": %d}\n", count);
    fflush(stdout);
    while (complete < count) {
        static struct epoll_event happened[512];
        int found = wait_until(poll, happened, 512, give_up);
        if (now_ns() > give_up) die("%ld of %d viewers are complete", complete, count);
        for (int i = 0; i < found; i++) read_one(happened[i].data.ptr);
    }
    printf("{\"complete\": %ld, \"answers_200\": %ld, \"answers_204\": %ld, \"seconds\": %.3f}\n",
           complete, answers_200, answers_204, (double)(now_ns() - began) / SECOND);
    return 0;
}
