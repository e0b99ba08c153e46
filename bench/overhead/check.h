/* check.h: is this answer right? Each one is looked at; the first thing wrong with it is named.
 *
 * From every server: the asked-for nonce in every piece of content, all tokens and in order, one finish_reason
 * "stop", the upstream's usage, [DONE] as the last event. From a gateway (a server that answers in its own name)
 * also: its own id, new each time and the same in all chunks, its own name of the model, and usage already on the
 * chunk that carries the finish_reason.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "json.h"
#include "wire.h"

#define ID_ROOM 96

typedef struct {
    bool gateway;
    const char *model; /* the name that a gateway must answer with */
    int tokens;        /* in each stream; 0 when answers are not streamed */
} Expected;

typedef struct {
    char nonce[NONCE_DIGITS + 1];
    char id[ID_ROOM];
    char id_before[ID_ROOM]; /* of the last answer on this connection */
    int tokens;
    bool finished, usage, done;
    long long last_token; /* when it was read */
} Answer;

typedef struct {
    Histogram gap;   /* between two tokens of a stream, as read */
    Histogram delay; /* from the upstream's send of a token to our read */
    long tokens;
} TokenTimes;

static void answer_begin(Answer *a, const char *nonce) {
    char before[ID_ROOM];
    memcpy(before, a->id, ID_ROOM);
    memset(a, 0, sizeof *a);
    memcpy(a->id_before, before, ID_ROOM);
    memcpy(a->nonce, nonce, NONCE_DIGITS);
}

static const char *check_id(Answer *a, Span value, const Expected *e) {
    Span id;
    if (!json_text(value, &id) || span_size(id) == 0 || span_size(id) >= ID_ROOM) return "id is not a short text";
    if (!e->gateway) return NULL;
    if (a->id[0]) return span_is(id, a->id) ? NULL : "id changes within a stream";
    if (span_size(id) < 10 || memcmp(id.at, "chatcmpl-", 9)) return "id does not start with chatcmpl-";
    if (span_is(id, UPSTREAM_ID)) return "id is the upstream's";
    if (span_is(id, a->id_before)) return "id is that of the answer before";
    memcpy(a->id, id.at, span_size(id));
    return NULL;
}

static const char *check_model(Span value, const Expected *e) {
    Span model;
    if (!json_text(value, &model)) return "model is not a text";
    return e->gateway && !span_is(model, e->model) ? "model is not the expected one" : NULL;
}

static const char *check_usage(Answer *a, Span value, int completion) {
    JsonWalk walk;
    Span name, part;
    long prompt_seen = -1, completion_seen = -1;
    if (json_is_null(value)) return NULL;
    if (!json_open(&walk, value, '{')) return "usage is not an object";
    while (json_step(&walk, &name, &part)) {
        if (span_is(name, "prompt_tokens")) prompt_seen = strtol(part.at, NULL, 10);
        if (span_is(name, "completion_tokens")) completion_seen = strtol(part.at, NULL, 10);
    }
    if (prompt_seen != PROMPT_TOKENS || completion_seen != completion) return "usage is not what the upstream counted";
    a->usage = true;
    return NULL;
}

static const char *check_token(Answer *a, Span text, const Expected *e, TokenTimes *times, long long now) {
    char wanted[TOKEN_SIZE + 1];
    snprintf(wanted, sizeof wanted, TOKEN_FORMAT, a->nonce, a->tokens, 0LL);
    size_t fixed = 1 + NONCE_DIGITS + 1 + 5 + 1;
    if (span_size(text) != TOKEN_SIZE || memcmp(text.at, wanted, fixed))
        return "token is not the next one of this request";
    if (a->finished) return "token after the finish_reason";
    if (a->tokens >= e->tokens) return "more tokens than the upstream sent";
    histogram_add(&times->delay, now - strtoll(text.at + fixed, NULL, 10));
    if (a->tokens) histogram_add(&times->gap, now - a->last_token);
    a->last_token = now;
    a->tokens++;
    times->tokens++;
    return NULL;
}

static const char *check_finish(Answer *a, Span value) {
    if (json_is_null(value)) return NULL;
    if (!span_is(value, "\"stop\"")) return "finish_reason is not stop";
    if (a->finished) return "finish_reason comes twice";
    a->finished = true;
    return NULL;
}

static const char *check_content(Answer *a, Span holder, const Expected *e, TokenTimes *times, long long now) {
    JsonWalk walk;
    Span name, value, text;
    bool content = false;
    if (!json_open(&walk, holder, '{')) return "message or delta is not an object";
    while (json_step(&walk, &name, &value)) {
        if (!span_is(name, "content") || json_is_null(value)) continue;
        if (!json_text(value, &text)) return "content is not a text";
        content = true;
        if (e->tokens) {
            const char *wrong = span_size(text) ? check_token(a, text, e, times, now) : NULL;
            if (wrong) return wrong;
        } else {
            char wanted[sizeof ANSWER_LEAD ANSWER_TEXT + NONCE_DIGITS];
            snprintf(wanted, sizeof wanted, ANSWER_LEAD "%s" ANSWER_TEXT, a->nonce);
            if (!span_is(text, wanted)) return "content is not the answer to this request";
        }
    }
    return e->tokens || content ? NULL : "message has no content";
}

static const char *check_choices(Answer *a, Span choices, const Expected *e, TokenTimes *times, long long now) {
    JsonWalk list, choice;
    Span name, value, item;
    int count = 0;
    if (!json_open(&list, choices, '[')) return "choices is not a list";
    while (json_step(&list, &name, &item)) {
        if (count++) return "more than one choice";
        if (!json_open(&choice, item, '{')) return "choice is not an object";
        while (json_step(&choice, &name, &value)) {
            const char *wrong = NULL;
            if (span_is(name, e->tokens ? "delta" : "message")) wrong = check_content(a, value, e, times, now);
            if (span_is(name, "finish_reason")) wrong = check_finish(a, value);
            if (wrong) return wrong;
        }
    }
    return count || e->tokens ? NULL : "choices is empty";
}

/* One JSON object: a whole answer, or one chunk of a stream. */
static const char *check_object(Answer *a, Span json, const Expected *e, TokenTimes *times, long long now) {
    JsonWalk walk;
    Span name, value, usage = {NULL, NULL};
    bool id = false, model = false, choices = false, finished_before = a->finished;
    if (!json_open(&walk, json, '{')) return "not a JSON object";
    while (json_step(&walk, &name, &value)) {
        const char *wrong = NULL;
        if (span_is(name, "error")) return "an error instead of an answer";
        if (span_is(name, "id")) id = true, wrong = check_id(a, value, e);
        if (span_is(name, "model")) model = true, wrong = check_model(value, e);
        if (span_is(name, "choices")) choices = true, wrong = check_choices(a, value, e, times, now);
        if (span_is(name, "usage")) usage = value;
        if (wrong) return wrong;
    }
    if (!json_ended(&walk)) return "broken JSON";
    if (!id) return "no id";
    if (!model) return "no model";
    if (!choices) return "no choices";
    if (usage.at) {
        const char *wrong = check_usage(a, usage, e->tokens ? e->tokens : ANSWER_TOKENS);
        if (wrong) return wrong;
    }
    if (a->finished && !finished_before) {
        if (a->tokens != e->tokens) return "tokens are missing";
        if (e->gateway && (!usage.at || json_is_null(usage))) return "no usage with the finish_reason";
    }
    return NULL;
}

/* One line of an event stream, without its line end. */
static const char *check_line(Answer *a, Span line, const Expected *e, TokenTimes *times, long long now) {
    if (span_size(line) && line.end[-1] == '\r') line.end--;
    if (span_size(line) == 0 || *line.at == ':') return NULL; /* the end of an event; a comment */
    if (span_size(line) < 6 || memcmp(line.at, "data: ", 6)) return "a line that is not data";
    if (a->done) return "an event after [DONE]";
    line.at += 6;
    if (!span_is(line, "[DONE]")) return check_object(a, line, e, times, now);
    a->done = true;
    return NULL;
}

/* The answer has ended: is all there? */
static const char *check_end(const Answer *a, const Expected *e) {
    if (!a->finished) return "no finish_reason";
    if (!a->usage) return "no usage";
    if (e->tokens && !a->done) return "no [DONE]";
    return NULL;
}

#endif
