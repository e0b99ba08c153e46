/* mock: a fast upstream that speaks OpenAI's chat wire, for measuring what stands in front of it.
 *
 *   mock PORT [PACED_TOKENS=100] [INTERVAL_MS=20] [BURST_TOKENS=64]
 *
 * One thread, epoll, 127.0.0.1. Every POST is a chat request: without "stream":true it gets one JSON answer, with it
 * a chunked event stream, in one write or, for the model "mock-paced", one token each INTERVAL_MS. Every GET gets a
 * list of models, which also serves as a health check. wire.h says what the answers hold.
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

#include "wire.h"

#define MAX_FD 20000
#define READ_STEP 65536

typedef struct {
    bool open;
    char *in; /* bytes not yet understood */
    size_t in_size, in_room;
    char *out; /* bytes the socket would not take yet */
    size_t out_size, out_room;
    char nonce[NONCE_DIGITS + 1];
    int next_token; /* of a paced stream that runs */
    long long due;
    int slot; /* in running[], or -1 */
} Connection;

static Connection connections[MAX_FD];
static int running[MAX_FD], running_count = 0;
static int poll_fd;
static int paced_tokens = 100, interval_ms = 20, burst_tokens = 64;

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char MODEL_LIST[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1763749200,"
    "\"owned_by\":\"bench\"},{\"id\":\"" PACED_MODEL "\",\"object\":\"model\",\"created\":1763749200,"
    "\"owned_by\":\"bench\"}]}";

/* ---- writing ---- */

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poll_fd, operation, fd, &event);
}

static void put(int fd, const char *bytes, size_t size) {
    Connection *c = &connections[fd];
    if (c->out_size == 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) return; /* the reader is gone: its EPOLLHUP closes the connection */
            sent = 0;
        }
        if ((size_t)sent == size) return;
        bytes += sent;
        size -= (size_t)sent;
    }
    if (c->out_size + size > c->out_room) {
        c->out_room = (c->out_size + size) * 2;
        c->out = realloc(c->out, c->out_room);
    }
    memcpy(c->out + c->out_size, bytes, size);
    c->out_size += size;
    watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void put_rest(int fd) {
    Connection *c = &connections[fd];
    ssize_t sent = send(fd, c->out, c->out_size, MSG_NOSIGNAL);
    if (sent <= 0) return;
    memmove(c->out, c->out + sent, c->out_size - (size_t)sent);
    c->out_size -= (size_t)sent;
    if (c->out_size == 0) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* ---- answers ---- */

static int write_json_reply(char *to, const char *json, int size) {
    return sprintf(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%.*s", size,
                   size, json);
}

static void answer_whole(int fd, const char *nonce) {
    char json[4096], reply[4608];
    int size = sprintf(
        json,
        "{\"id\":\"" UPSTREAM_ID "\",\"object\":\"chat.completion\",\"created\":1763749200,"
        "\"model\":\"" UPSTREAM_MODEL "\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"" ANSWER_LEAD "%s" ANSWER_TEXT "\",\"tool_calls\":[]},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,"
        "\"total_tokens\":%d}}",
        nonce, PROMPT_TOKENS, ANSWER_TOKENS, PROMPT_TOKENS + ANSWER_TOKENS);
    put(fd, reply, (size_t)write_json_reply(reply, json, size));
}

/* One event as one chunk. All chunks of a stream look alike up to "choices", as a real engine's do. */
static int write_event(char *to, const char *data, int size) {
    return sprintf(to, "%x\r\ndata: %.*s\n\n\r\n", size + 8, size, data);
}

static int write_chunk(char *to, const char *tail) {
    char json[512];
    int size = sprintf(json,
                       "{\"id\":\"" UPSTREAM_ID "\",\"object\":\"chat.completion.chunk\",\"created\":1763749200,"
                       "\"model\":\"" UPSTREAM_MODEL "\",\"choices\":[%s}",
                       tail);
    return write_event(to, json, size);
}

static int write_delta(char *to, const char *delta, const char *finish_reason) {
    char tail[256];
    sprintf(tail, "{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}]", delta, finish_reason);
    return write_chunk(to, tail);
}

static int write_opening(char *to) {
    int size = sprintf(to, "%s", STREAM_HEAD);
    return size + write_delta(to + size, "\"role\":\"assistant\",\"content\":\"\"", "null");
}

static int write_token(char *to, const char *nonce, int number) {
    char delta[128];
    sprintf(delta, "\"content\":\"" TOKEN_FORMAT "\"", nonce, number, now_ns());
    return write_delta(to, delta, "null");
}

static int write_ending(char *to, int tokens) {
    char usage[160];
    sprintf(usage, "],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}", PROMPT_TOKENS,
            tokens, PROMPT_TOKENS + tokens);
    int size = write_delta(to, "", "\"stop\"");
    size += write_chunk(to + size, usage);
    size += write_event(to + size, "[DONE]", 6);
    return size + sprintf(to + size, "0\r\n\r\n");
}

static void answer_burst(int fd, const char *nonce) {
    static char *buffer = NULL;
    if (!buffer) buffer = malloc(((size_t)burst_tokens + 8) * 512);
    int size = write_opening(buffer);
    for (int i = 0; i < burst_tokens; i++) size += write_token(buffer + size, nonce, i);
    size += write_ending(buffer + size, burst_tokens);
    put(fd, buffer, (size_t)size);
}

static void start_paced(int fd, const char *nonce) {
    Connection *c = &connections[fd];
    char buffer[1024];
    int size = write_opening(buffer);
    put(fd, buffer, (size_t)size);
    memcpy(c->nonce, nonce, sizeof c->nonce);
    c->next_token = 0;
    c->due = now_ns();
    c->slot = running_count;
    running[running_count++] = fd;
}

static void end_paced(int fd) {
    Connection *c = &connections[fd];
    if (c->slot < 0) return;
    int last = running[--running_count];
    running[c->slot] = last;
    connections[last].slot = c->slot;
    c->slot = -1;
}

static void pace(void) {
    long long now = now_ns();
    for (int i = running_count - 1; i >= 0; i--) { /* from the end: end_paced moves the last one here */
        int fd = running[i];
        Connection *c = &connections[fd];
        if (c->due > now) continue;
        char buffer[2048];
        int size = write_token(buffer, c->nonce, c->next_token++);
        c->due += interval_ms * 1000000LL;
        if (c->next_token == paced_tokens) {
            size += write_ending(buffer + size, paced_tokens);
            end_paced(fd);
        }
        put(fd, buffer, (size_t)size);
    }
}

/* ---- requests ---- */

static bool holds(const char *body, size_t size, const char *text) {
    return memmem(body, size, text, strlen(text)) != NULL;
}

static void answer(int fd, const char *body, size_t size) {
    if (!memcmp(connections[fd].in, "GET ", 4)) {
        char reply[1024];
        put(fd, reply, (size_t)write_json_reply(reply, MODEL_LIST, sizeof MODEL_LIST - 1));
        return;
    }
    char nonce[NONCE_DIGITS + 1] = "0000000000";
    const char *mark = memmem(body, size, NONCE_MARK, sizeof NONCE_MARK - 1);
    if (mark && mark + sizeof NONCE_MARK - 1 + NONCE_DIGITS <= body + size)
        memcpy(nonce, mark + sizeof NONCE_MARK - 1, NONCE_DIGITS);
    if (!holds(body, size, "\"stream\":true") && !holds(body, size, "\"stream\": true"))
        answer_whole(fd, nonce);
    else if (holds(body, size, "\"" PACED_MODEL "\""))
        start_paced(fd, nonce);
    else
        answer_burst(fd, nonce);
}

/* Answers the first whole request in the buffer; false when there is none yet. */
static bool take_request(int fd) {
    Connection *c = &connections[fd];
    char *head_end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (!head_end) return false;
    size_t head_size = (size_t)(head_end - c->in) + 4, body_size = 0;
    bool chunked = false;
    for (char *line = c->in; line < head_end;) {
        char *end = memmem(line, (size_t)(head_end + 2 - line), "\r\n", 2);
        if (!strncasecmp(line, "content-length:", 15)) body_size = strtoul(line + 15, NULL, 10);
        if (!strncasecmp(line, "transfer-encoding: chunked", 26)) chunked = true;
        line = end + 2;
    }
    if (chunked) {
        char *last = memmem(head_end + 2, c->in_size - head_size + 2, "\r\n0\r\n\r\n", 7);
        if (!last) return false;
        body_size = (size_t)(last + 7 - c->in) - head_size;
    }
    if (c->in_size < head_size + body_size) return false;
    answer(fd, c->in + head_size, body_size);
    c->in_size -= head_size + body_size;
    memmove(c->in, c->in + head_size + body_size, c->in_size);
    return true;
}

static void close_connection(int fd) {
    end_paced(fd);
    close(fd);
    connections[fd].open = false;
    connections[fd].in_size = connections[fd].out_size = 0;
}

static void read_requests(int fd) {
    Connection *c = &connections[fd];
    if (c->in_room - c->in_size < READ_STEP) {
        c->in_room = c->in_size + 2 * READ_STEP;
        c->in = realloc(c->in, c->in_room);
    }
    ssize_t got = recv(fd, c->in + c->in_size, c->in_room - c->in_size, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        close_connection(fd);
        return;
    }
    c->in_size += (size_t)got;
    while (take_request(fd)) {
    }
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd].open = true; /* its buffers stay from the descriptor's last user */
        connections[fd].slot = -1;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("mock: cannot listen");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: mock PORT [PACED_TOKENS] [INTERVAL_MS] [BURST_TOKENS]\n");
        return 2;
    }
    if (count > 2) paced_tokens = atoi(arguments[2]);
    if (count > 3) interval_ms = atoi(arguments[3]);
    if (count > 4) burst_tokens = atoi(arguments[4]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    poll_fd = epoll_create1(0);
    int listener = listen_on(atoi(arguments[1]));
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    static struct epoll_event events[512];
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 512, running_count ? 1 : -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            Connection *c = &connections[fd];
            if (c->open && events[i].events & EPOLLOUT && c->out_size) put_rest(fd);
            if (c->open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_requests(fd);
        }
        if (running_count) pace();
    }
}
