/* histogram.h: counts of durations in ns, exact to 1 part in 128, in memory that does not grow. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdio.h>

#define HISTOGRAM_BITS 7
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

typedef struct {
    long counts[HISTOGRAM_BUCKETS], total;
    long long largest;
} Histogram;

static void histogram_add(Histogram *h, long long ns) {
    if (ns < 0) ns = 0;
    if (ns > h->largest) h->largest = ns;
    unsigned long long v = (unsigned long long)ns;
    int shift = v >> HISTOGRAM_BITS ? 63 - __builtin_clzll(v) - HISTOGRAM_BITS : -1;
    int bucket = shift < 0 ? (int)v : ((shift + 1) << HISTOGRAM_BITS) + (int)((v >> shift) - (1 << HISTOGRAM_BITS));
    h->counts[bucket]++;
    h->total++;
}

/* The smallest duration, in µs, that `share` of all do not exceed. */
static double histogram_at(const Histogram *h, double share) {
    long wanted = (long)(share * (double)h->total + 0.999999), seen = 0;
    for (int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        if (!h->counts[bucket] || (seen += h->counts[bucket]) < wanted) continue;
        int shift = (bucket >> HISTOGRAM_BITS) - 1;
        if (shift < 0) return bucket / 1e3;
        long long low = (1LL << HISTOGRAM_BITS) + (bucket & ((1 << HISTOGRAM_BITS) - 1));
        long long value = (low << shift) + ((1LL << shift) >> 1);
        return (double)(value < h->largest ? value : h->largest) / 1e3;
    }
    return 0;
}

static void histogram_print(const Histogram *h, const char *name) {
    printf("\"%s\":{\"count\":%ld,\"p50\":%.1f,\"p99\":%.1f,\"p99_9\":%.1f,\"max\":%.1f}", name, h->total,
           histogram_at(h, 0.5), histogram_at(h, 0.99), histogram_at(h, 0.999), (double)h->largest / 1e3);
}

#endif
