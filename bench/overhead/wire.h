/* What the mock upstream says and the load tool expects to hear: the two must agree, so it stands here once.
 *
 * A request carries ten digits that no other request of a run has (its nonce). The mock puts them in every answer
 * and every token, so an answer from a cache, or one that went to the wrong caller, is seen at once.
 */
#ifndef WIRE_H
#define WIRE_H

#include <time.h>

#define NONCE_MARK "booking code is " /* the nonce follows this text in a request */
#define NONCE_DIGITS 10

#define PACED_MODEL "mock-paced" /* a request for it is answered token by token, any other in one burst */

#define UPSTREAM_ID "chatcmpl-upstream7f3a9c2b51d84e0f" /* a gateway must put its own id in its place */
#define UPSTREAM_MODEL "mock-engine"                    /* and its own name of the model */

#define PROMPT_TOKENS 412
#define ANSWER_TOKENS 180

/* A plain answer's content: ANSWER_LEAD, the nonce, ANSWER_TEXT. About 950 bytes, a usual length. */
#define ANSWER_LEAD "Booking "
#define ANSWER_LINE "The quick brown fox jumps over the lazy dog, and then it rests under a tree. "
#define ANSWER_TEXT \
    ": " ANSWER_LINE ANSWER_LINE ANSWER_LINE ANSWER_LINE ANSWER_LINE ANSWER_LINE ANSWER_LINE ANSWER_LINE \
        ANSWER_LINE ANSWER_LINE ANSWER_LINE ANSWER_LINE

/* A token's content: "@" nonce "." number of the token, 5 digits "." CLOCK_MONOTONIC ns when sent, 19 digits "@". */
#define TOKEN_SIZE (1 + NONCE_DIGITS + 1 + 5 + 1 + 19 + 1)
#define TOKEN_FORMAT "@%.10s.%05d.%019lld@"

static inline long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

#endif
