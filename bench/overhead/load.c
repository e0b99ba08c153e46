/* load: asks for chats over keep-alive connections and checks each answer. check.h says what is right.
 *
 *   load --port N --path PATH --key KEY --body FILE --connections N (--seconds S | --requests N)
 *        [--tokens N] [--ramp-ms N] [--gateway --model NAME]
 *
 * One thread, epoll, 127.0.0.1. FILE is the request's body and holds ten digits after "booking code is ", which are
 * counted up from request to request. With --tokens the answers are streams of so many tokens. With --seconds no
 * request is begun after that time, and those under way are waited for.
 *
 * Prints one JSON object, durations in µs. Exit code 0: all answers were right. 3: one was wrong, and standard error
 * names it. 4: nothing came for 20 s. 2: bad arguments, or no connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "wire.h"

#define READ_SIZE 65536
#define MAX_HEAD 32768
#define STALL_NS 20000000000LL

enum { EXIT_USAGE = 2, EXIT_WRONG = 3, EXIT_STALLED = 4 };

typedef enum { HEAD, SIZED, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER } Stage;

typedef struct {
    char *bytes;
    size_t size, room;
} Buffer;

typedef struct {
    int fd;
    bool busy, used, close_after;
    Stage stage;
    size_t left;  /* bytes of the sized body or of the chunk still to come */
    Buffer in;    /* as received, not yet understood */
    Buffer body;  /* decoded: the whole JSON answer, or a stream's unfinished line */
    long long sent;
    Answer answer;
} Connection;

typedef struct {
    int port, connections, ramp_ms;
    const char *path, *key, *body_file;
    double seconds;
    long requests;
    Expected expected;
} Options;

static Options options = {.path = "/v1/chat/completions", .key = "", .connections = 1};
static char *request;
static size_t request_size, nonce_at;
static long begun, answered, reconnects;
static long long started, deadline, last_progress;
static int poll_fd;
static TokenTimes token_times;
static Histogram duration, first_token;

static _Noreturn void fail(int code, const char *message, const char *detail) {
    fprintf(stderr, "load: %s: %s\n", message, detail);
    exit(code);
}

static _Noreturn void wrong(const Connection *c, const char *what) {
    const Buffer *shown = c->body.size ? &c->body : &c->in;
    fprintf(stderr, "load: wrong answer to request %s after %d tokens: %s\n", c->answer.nonce, c->answer.tokens, what);
    fprintf(stderr, "%.*s\n", (int)(shown->size < 600 ? shown->size : 600), shown->bytes);
    exit(EXIT_WRONG);
}

static void append(Buffer *b, const char *bytes, size_t size) {
    if (b->size + size > b->room) {
        b->room = (b->size + size) * 2;
        b->bytes = realloc(b->bytes, b->room);
    }
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

static void drop_front(Buffer *b, size_t size) {
    b->size -= size;
    if (b->size && size) memmove(b->bytes, b->bytes + size, b->size);
}

/* ---- requests ---- */

static void prepare_request(void) {
    FILE *file = fopen(options.body_file, "rb");
    if (!file) fail(EXIT_USAGE, "cannot read the body", options.body_file);
    static char body[1 << 20];
    size_t size = fread(body, 1, sizeof body, file);
    fclose(file);
    char *mark = memmem(body, size, NONCE_MARK, sizeof NONCE_MARK - 1);
    if (!mark || mark + sizeof NONCE_MARK - 1 + NONCE_DIGITS > body + size)
        fail(EXIT_USAGE, "the body holds no", NONCE_MARK);
    request = malloc(size + strlen(options.path) + strlen(options.key) + 512);
    int head = sprintf(request,
                       "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
                       "Content-Type: application/json\r\nAccept: %s\r\nContent-Length: %zu\r\n\r\n",
                       options.path, options.port, options.key,
                       options.expected.tokens ? "text/event-stream" : "application/json", size);
    memcpy(request + head, body, size);
    request_size = (size_t)head + size;
    nonce_at = (size_t)head + (size_t)(mark - body) + sizeof NONCE_MARK - 1;
}

static void open_connection(Connection *c) {
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address))
        fail(EXIT_USAGE, "cannot connect", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
    c->used = false;
    c->in.size = 0;
}

static void send_request(Connection *c) {
    memcpy(request + nonce_at, c->answer.nonce, NONCE_DIGITS);
    c->sent = now_ns();
    for (size_t done = 0; done < request_size;) {
        ssize_t sent = send(c->fd, request + done, request_size - done, MSG_NOSIGNAL);
        if (sent < 0) return; /* the connection is gone: reading it will say so */
        done += (size_t)sent;
    }
}

static bool enough(void) {
    return options.requests ? begun >= options.requests : now_ns() >= deadline;
}

static void next_request(Connection *c) {
    c->busy = !enough();
    if (!c->busy) return;
    char nonce[24];
    /* Other runs against the same server begin elsewhere. */
    snprintf(nonce, sizeof nonce, "%010lld", (started / 1000 + begun++) % 10000000000LL);
    answer_begin(&c->answer, nonce);
    c->stage = HEAD;
    c->body.size = 0;
    send_request(c);
}

/* ---- answers ---- */

static bool header_is(const char *line, const char *end, const char *name, const char **value) {
    size_t size = strlen(name);
    if ((size_t)(end - line) <= size || strncasecmp(line, name, size) || line[size] != ':') return false;
    for (*value = line + size + 1; *value < end && **value == ' ';) (*value)++;
    return true;
}

/* Reads the head; false while it is not all there. */
static bool take_head(Connection *c, size_t *at) {
    char *bytes = c->in.bytes + *at, *end = memmem(bytes, c->in.size - *at, "\r\n\r\n", 4);
    if (!end) {
        if (c->in.size - *at > MAX_HEAD) wrong(c, "the head does not end");
        return false;
    }
    bool chunked = false, sized = false, typed = false;
    const char *type = options.expected.tokens ? "text/event-stream" : "application/json", *value;
    if (end - bytes < 12 || memcmp(bytes, "HTTP/1.1 200", 12)) wrong(c, "status is not 200");
    c->close_after = false;
    for (char *line = bytes; line < end;) {
        char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        if (header_is(line, stop, "content-length", &value)) sized = true, c->left = strtoul(value, NULL, 10);
        if (header_is(line, stop, "transfer-encoding", &value)) chunked = !strncasecmp(value, "chunked", 7);
        if (header_is(line, stop, "content-type", &value)) typed = !strncasecmp(value, type, strlen(type));
        if (header_is(line, stop, "connection", &value)) c->close_after = !strncasecmp(value, "close", 5);
        line = stop + 2;
    }
    if (!typed) wrong(c, "content-type is not the expected one");
    if (chunked == sized) wrong(c, "the length is given in no way or in two");
    if (options.expected.tokens && !chunked) wrong(c, "a stream that is not chunked");
    *at += (size_t)(end - bytes) + 4;
    c->stage = chunked ? CHUNK_SIZE : SIZED;
    return true;
}

/* Checks the whole lines that the body holds, and keeps the rest. */
static void take_lines(Connection *c, long long now) {
    char *line = c->body.bytes, *end = line + c->body.size, *stop;
    while ((stop = memchr(line, '\n', (size_t)(end - line)))) {
        int before = c->answer.tokens;
        const char *what = check_line(&c->answer, (Span){line, stop}, &options.expected, &token_times, now);
        if (what) {
            drop_front(&c->body, (size_t)(line - c->body.bytes));
            wrong(c, what);
        }
        if (!before && c->answer.tokens) histogram_add(&first_token, now - c->sent);
        line = stop + 1;
    }
    drop_front(&c->body, (size_t)(line - c->body.bytes));
}

static void take_body(Connection *c, size_t *at, long long now) {
    size_t size = c->in.size - *at < c->left ? c->in.size - *at : c->left;
    if (size == 0) return;
    append(&c->body, c->in.bytes + *at, size);
    *at += size;
    c->left -= size;
    if (options.expected.tokens) take_lines(c, now);
}

static void finish(Connection *c, size_t at, long long now) {
    const char *what = NULL;
    if (options.expected.tokens) {
        if (c->body.size) what = "the last line does not end";
    } else {
        Span json = {c->body.bytes, c->body.bytes + c->body.size};
        what = check_object(&c->answer, json, &options.expected, &token_times, now);
    }
    if (!what) what = check_end(&c->answer, &options.expected);
    if (!what && c->in.size > at) what = "bytes after the answer's end";
    if (what) wrong(c, what);
    histogram_add(&duration, now - c->sent);
    answered++;
    c->used = true;
    c->busy = false;
}

/* One line of the chunked framing, without its end; false while it is not all there. */
static bool take_frame_line(Connection *c, size_t *at, Span *line) {
    char *start = c->in.bytes + *at, *stop = memmem(start, c->in.size - *at, "\r\n", 2);
    if (!stop) {
        if (c->in.size - *at > 1024) wrong(c, "broken chunk framing");
        return false;
    }
    *line = (Span){start, stop};
    *at += (size_t)(stop - start) + 2;
    return true;
}

/* Goes one stage on; false when more bytes are needed or the answer is over. */
static bool step(Connection *c, size_t *at, long long now) {
    Span line;
    switch (c->stage) {
    case HEAD:
        return take_head(c, at);
    case SIZED:
        take_body(c, at, now);
        if (c->left == 0) finish(c, *at, now);
        return false;
    case CHUNK_SIZE:
        if (!take_frame_line(c, at, &line)) return false;
        char *after;
        c->left = strtoul(line.at, &after, 16);
        if (after == line.at || (after != line.end && *after != ';')) wrong(c, "broken chunk size");
        c->stage = c->left ? CHUNK : TRAILER;
        return true;
    case CHUNK:
        take_body(c, at, now);
        if (c->left) return false;
        c->stage = CHUNK_END;
        return true;
    case CHUNK_END:
        if (!take_frame_line(c, at, &line)) return false;
        if (span_size(line)) wrong(c, "a chunk longer than its size");
        c->stage = CHUNK_SIZE;
        return true;
    case TRAILER:
        if (!take_frame_line(c, at, &line)) return false;
        if (span_size(line)) return true;
        finish(c, *at, now);
        return false;
    }
    return false;
}

static void reconnect(Connection *c) {
    close(c->fd);
    open_connection(c);
    reconnects++;
}

static void on_readable(Connection *c) {
    static char bytes[READ_SIZE];
    ssize_t got = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        bool untouched = c->stage == HEAD && c->in.size == 0;
        if (c->busy && !(untouched && c->used)) wrong(c, "the connection ended before the answer did");
        if (!c->busy && enough()) { /* all done: nothing to reopen it for */
            epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL);
            return;
        }
        reconnect(c); /* an idle connection may be closed at any time */
        if (c->busy) send_request(c);
        return;
    }
    if (!c->busy) {
        append(&c->in, bytes, (size_t)got);
        wrong(c, "bytes that no request asked for");
    }
    long long now = now_ns();
    last_progress = now;
    append(&c->in, bytes, (size_t)got);
    size_t at = 0;
    while (c->busy && step(c, &at, now)) {
    }
    drop_front(&c->in, at);
    if (c->busy) return;
    if (c->close_after) reconnect(c);
    next_request(c);
}

/* ---- the run ---- */

static int busy_connections(const Connection *all, int opened) {
    int busy = 0;
    for (int i = 0; i < opened; i++) busy += all[i].busy;
    return busy;
}

static long long opening_time(int number) {
    return started + options.ramp_ms * 1000000LL * number / options.connections;
}

static void run(void) {
    Connection *all = calloc((size_t)options.connections, sizeof *all);
    struct epoll_event events[256];
    int opened = 0;
    poll_fd = epoll_create1(0);
    started = last_progress = now_ns();
    deadline = started + (long long)(options.seconds * 1e9);
    for (;;) {
        while (opened < options.connections && now_ns() >= opening_time(opened)) {
            open_connection(&all[opened]);
            next_request(&all[opened++]);
        }
        if (opened == options.connections && enough() && !busy_connections(all, opened)) return;
        int ready = epoll_wait(poll_fd, events, 256, opened < options.connections ? 1 : 100);
        for (int i = 0; i < ready; i++) on_readable(events[i].data.ptr);
        if (now_ns() - last_progress > STALL_NS) fail(EXIT_STALLED, "stalled", "nothing came for 20 s");
    }
}

static void report(void) {
    double seconds = (double)(last_progress - started) / 1e9;
    printf("{\"answers\":%ld,\"tokens\":%ld,\"tokens_expected\":%ld,\"seconds\":%.3f,\"reconnects\":%ld,", answered,
           token_times.tokens, begun * options.expected.tokens, seconds, reconnects);
    histogram_print(&duration, "duration_us");
    printf(",");
    histogram_print(&first_token, "first_token_us");
    printf(",");
    histogram_print(&token_times.gap, "gap_us");
    printf(",");
    histogram_print(&token_times.delay, "delay_us");
    printf("}\n");
}

static void read_arguments(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        if (!strcmp(name, "--gateway")) {
            options.expected.gateway = true;
            continue;
        }
        if (++i == count) fail(EXIT_USAGE, "no value for", name);
        const char *value = arguments[i];
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--key")) options.key = value;
        else if (!strcmp(name, "--body")) options.body_file = value;
        else if (!strcmp(name, "--connections")) options.connections = atoi(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--requests")) options.requests = atol(value);
        else if (!strcmp(name, "--tokens")) options.expected.tokens = atoi(value);
        else if (!strcmp(name, "--ramp-ms")) options.ramp_ms = atoi(value);
        else if (!strcmp(name, "--model")) options.expected.model = value;
        else fail(EXIT_USAGE, "unknown option", name);
    }
    bool bounded = (options.seconds > 0) != (options.requests > 0);
    if (!options.port || !options.body_file || options.connections < 1 || !bounded)
        fail(EXIT_USAGE, "wanted", "--port, --body, --connections and one of --seconds and --requests");
    if (options.expected.gateway && !options.expected.model) fail(EXIT_USAGE, "wanted with --gateway", "--model");
}

int main(int count, char **arguments) {
    read_arguments(count, arguments);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prepare_request();
    run();
    if (answered == 0) fail(EXIT_STALLED, "no answer", "the time was too short");
    report();
    return 0;
}
