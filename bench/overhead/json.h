/* json.h: walks JSON text without copying it. Enough to check an answer's shape; it decodes no escapes. */
#ifndef JSON_H
#define JSON_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct {
    const char *at, *end;
} Span;

typedef struct {
    Span rest;
    char closer;
    bool first, broken; /* broken: the text is no JSON; it shows when json_step has said false */
} JsonWalk;

static const char *json_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

static const char *json_skip_string(const char *p, const char *end) {
    for (p++; p < end; p++) {
        if (*p == '"') return p + 1;
        if (*p == '\\') p++;
        else if ((unsigned char)*p < 0x20) return NULL;
    }
    return NULL;
}

static const char *json_skip_scalar(const char *p, const char *end) {
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t size = strlen(words[i]);
        if ((size_t)(end - p) >= size && !memcmp(p, words[i], size)) return p + size;
    }
    const char *start = p;
    if (p < end && *p == '-') p++;
    while (p < end && (isdigit((unsigned char)*p) || (*p && strchr(".eE+-", *p)))) p++;
    return p > start && isdigit((unsigned char)p[-1]) ? p : NULL;
}

/* The end of the value that starts at p, or NULL where there is no whole value. */
static const char *json_skip(const char *p, const char *end, int depth) {
    p = json_space(p, end);
    if (p >= end || depth > 64) return NULL;
    if (*p == '"') return json_skip_string(p, end);
    if (*p != '{' && *p != '[') return json_skip_scalar(p, end);
    char closer = *p == '{' ? '}' : ']';
    p = json_space(p + 1, end);
    if (p < end && *p == closer) return p + 1;
    for (;;) {
        if (closer == '}') {
            p = json_space(p, end);
            if (p >= end || *p != '"' || !(p = json_skip_string(p, end))) return NULL;
            p = json_space(p, end);
            if (p >= end || *p++ != ':') return NULL;
        }
        if (!(p = json_skip(p, end, depth + 1))) return NULL;
        p = json_space(p, end);
        if (p >= end) return NULL;
        if (*p == closer) return p + 1;
        if (*p++ != ',') return NULL;
    }
}

/* Begin to walk an object ('{') or a list ('['); false when the value is something else. */
static bool json_open(JsonWalk *walk, Span value, char opener) {
    const char *p = json_space(value.at, value.end);
    if (p >= value.end || *p != opener) return false;
    *walk = (JsonWalk){.rest = {p + 1, value.end}, .closer = opener == '{' ? '}' : ']', .first = true};
    return true;
}

/* The next member, its name without quotes (empty in a list). False at the end, or where the text is broken. */
static bool json_step(JsonWalk *walk, Span *name, Span *value) {
    const char *p = json_space(walk->rest.at, walk->rest.end), *end = walk->rest.end;
    *name = (Span){p, p};
    if (p < end && *p == walk->closer) return false;
    walk->broken = true;
    if (!walk->first) {
        if (p >= end || *p != ',') return false;
        p = json_space(p + 1, end);
    }
    if (walk->closer == '}') {
        if (p >= end || *p != '"') return false;
        const char *after = json_skip_string(p, end);
        if (!after) return false;
        *name = (Span){p + 1, after - 1};
        p = json_space(after, end);
        if (p >= end || *p++ != ':') return false;
    }
    p = json_space(p, end);
    const char *after = json_skip(p, end, 1);
    if (!after) return false;
    *value = (Span){p, after};
    walk->rest.at = after;
    walk->first = walk->broken = false;
    return true;
}

/* True when json_step has said false because the value ended well, with nothing after it. */
static bool json_ended(const JsonWalk *walk) {
    const char *p = json_space(walk->rest.at, walk->rest.end);
    return !walk->broken && p < walk->rest.end && json_space(p + 1, walk->rest.end) == walk->rest.end;
}

static inline size_t span_size(Span s) { return (size_t)(s.end - s.at); }

static bool span_is(Span s, const char *text) {
    return span_size(s) == strlen(text) && !memcmp(s.at, text, span_size(s));
}

static bool json_is_null(Span value) { return span_is(value, "null"); }

/* The inside of a string value; false when it is no string. */
static bool json_text(Span value, Span *text) {
    if (span_size(value) < 2 || *value.at != '"') return false;
    *text = (Span){value.at + 1, value.end - 1};
    return true;
}

#endif
