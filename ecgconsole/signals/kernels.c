/* Loops that NumPy would make many passes of. Each does what the Python function of the same name does without it, to
 * the last bit: comparisons, selections, and single operations in the same order. Compiled without contraction of
 * multiplications and additions, which would round once where NumPy rounds twice. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of this text, by which compiled.py knows that the library is its own. */
#ifndef SOURCE_SHA256
#define SOURCE_SHA256 ""
#endif
const char source_sha256[65] = SOURCE_SHA256;

enum { LANES = 8 };
enum { IS_LITTLE_ENDIAN = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ };

/* How bumps become beats, see beats.BeatRules; float where NumPy compares in float. */
typedef struct {
    double rate_hz, echo_s;
    int64_t reach, first_reference_samples;
    float threshold, echo_threshold, back_rr, back_threshold;
} Rules;

/* Candidates of one row, in order of time. */
typedef struct {
    int64_t n;
    int64_t *column;
    double *position, *time_s;
    float *height, *relative, *floor, *usual, *members;
    uint8_t *accepted, *mark;
} Candidates;

enum { UNDECIDED, KEPT, SILENCED };

/* Greedy suppression: a maximum stays where no higher one that stays lies within reach; of equals the earlier. */
static inline void suppress(Candidates *c, int64_t reach) {
    int open = 1;
    memset(c->mark, UNDECIDED, c->n);
    while (open) {
        open = 0;
        for (int64_t i = 0; i < c->n; i++) {
            if (c->mark[i] != UNDECIDED) continue;
            int highest = 1;
            for (int64_t j = i - 1; highest && j >= 0 && c->column[i] - c->column[j] <= reach; j--)
                highest = c->mark[j] == SILENCED || c->height[j] < c->height[i];
            for (int64_t j = i + 1; highest && j < c->n && c->column[j] - c->column[i] <= reach; j++)
                highest = c->mark[j] == SILENCED || c->height[j] <= c->height[i];
            if (!highest) {
                open = 1;
                continue;
            }
            c->mark[i] = KEPT;
            for (int64_t j = i - 1; j >= 0 && c->column[i] - c->column[j] <= reach; j--) c->mark[j] = SILENCED;
            for (int64_t j = i + 1; j < c->n && c->column[j] - c->column[i] <= reach; j++) c->mark[j] = SILENCED;
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (c->mark[i] != KEPT) continue;
        c->column[kept] = c->column[i];
        c->height[kept++] = c->height[i];
    }
    c->n = kept;
}

static inline void find_maxima(Candidates *c, const float *bumps, int64_t m, int64_t reach) {
    enum { BLOCK = 64 };
    c->n = 0;
    for (int64_t first = 1; first < m - 1; first += BLOCK) {
        uint8_t top[BLOCK] = {0};
        int64_t count = first + BLOCK < m - 1 ? BLOCK : m - 1 - first;
        const float *at = bumps + first;
        for (int64_t i = 0; i < count; i++) top[i] = (at[i] > at[i - 1]) & !(at[i + 1] > at[i]);
        for (int64_t i = 0; i < count; i += LANES) {
            uint64_t any;
            memcpy(&any, top + i, LANES);
            if (!any) continue;
            for (int64_t k = i; k < i + LANES; k++) {
                c->column[c->n] = first + k;
                c->n += top[k];
            }
        }
    }
    for (int64_t i = 0; i < c->n; i++) c->height[i] = bumps[c->column[i]];
    suppress(c, reach);
    for (int64_t i = 0; i < c->n; i++) {
        float before = bumps[c->column[i] - 1], after = bumps[c->column[i] + 1];
        float bend = before - 2 * c->height[i] + after;
        float offset = bend < 0 ? 0.5f * (before - after) / bend : 0.0f;
        c->position[i] = (double)c->column[i] + (double)offset;
    }
}

/* How many of the sorted values are below value: its place among them. */
static inline int place_of(const float *sorted, int n, float value) {
    int place = 0;
    for (int i = 0; i < n; i++) place += sorted[i] < value;
    return place;
}

/* Running median over an odd number of values, the ends repeated. */
static inline void running_median(const float *values, int64_t n, int size, float *median) {
    float sorted[32];
    int reach = size / 2;
    for (int i = 0; i < size; i++) {
        float value = values[i < reach ? 0 : i - reach >= n ? n - 1 : i - reach];
        int place = place_of(sorted, i, value);
        for (int k = i; k > place; k--) sorted[k] = sorted[k - 1];
        sorted[place] = value;
    }
    for (int64_t k = 0;; k++) {
        median[k] = sorted[reach];
        if (k + 1 == n) return;
        float leaves = values[k < reach ? 0 : k - reach], enters = values[k + 1 + reach >= n ? n - 1 : k + 1 + reach];
        int from = place_of(sorted, size, leaves), to = place_of(sorted, size, enters) - (leaves < enters);
        for (; from < to; from++) sorted[from] = sorted[from + 1];
        for (; from > to; from--) sorted[from] = sorted[from - 1];
        sorted[to] = enters;
    }
}

/* Lowest and highest of at least one value. */
static inline void range_of(const float *values, int64_t n, float *lowest, float *highest) {
    float low[LANES], high[LANES];
    int64_t whole = n - n % LANES;
    for (int k = 0; k < LANES; k++) low[k] = high[k] = values[k < n ? k : 0];
    for (int64_t j = 0; j < whole; j += LANES)
        for (int k = 0; k < LANES; k++) {
            low[k] = values[j + k] < low[k] ? values[j + k] : low[k];
            high[k] = values[j + k] > high[k] ? values[j + k] : high[k];
        }
    for (int64_t j = whole; j < n; j++) {
        low[0] = values[j] < low[0] ? values[j] : low[0];
        high[0] = values[j] > high[0] ? values[j] : high[0];
    }
    for (int k = 1; k < LANES; k++) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
    }
    *lowest = low[0], *highest = high[0];
}

/* At each candidate, the median height of the 17 candidates around it whose accepted is wanted; 0 for none. */
static inline void running_medians(Candidates *c, int wanted, float *result) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (c->accepted[i] == wanted) c->members[n++] = c->height[i];
    if (!n) {
        memset(result, 0, c->n * sizeof(float));
        return;
    }
    running_median(c->members, n, 17, c->relative);
    int64_t rank = 0;
    for (int64_t i = 0; i < c->n; i++) {
        result[i] = c->relative[rank < n ? rank : n - 1];
        rank += c->accepted[i] == wanted;
    }
}

/* Accepts what stands out of the highest bumps around: the median over 9 of the highest in each 2 s. */
static inline void accept_first(Candidates *c, const float *bumps, int64_t m, int64_t size) {
    int64_t bins = m / size > 1 ? m / size : 1;
    for (int64_t b = 0; b < bins; b++) {
        int64_t stop = (b + 1) * size < m ? (b + 1) * size : m;
        float low, high;
        range_of(bumps + b * size, stop - b * size, &low, &high);
        c->members[b] = high;
    }
    running_median(c->members, bins, 9, c->usual);
    for (int64_t i = 0; i < c->n; i++) {
        int64_t bin = (int64_t)c->position[i] / size;
        c->accepted[i] = c->height[i] > 0.35f * c->usual[bin < bins - 1 ? bin : bins - 1];
    }
}

/* Accepts by height between the running medians of refused and accepted ones, echoes left out. */
static inline void accept_by_medians(Candidates *c, const Rules *rules) {
    running_medians(c, 0, c->floor);
    running_medians(c, 1, c->usual);
    for (int64_t i = 0; i < c->n; i++) {
        float range = c->usual[i] - c->floor[i];
        c->relative[i] = (c->height[i] - c->floor[i]) / (range > 1e-12f ? range : 1e-12f);
        c->accepted[i] = c->relative[i] > rules->threshold;
    }
    int64_t last = -1;
    for (int64_t i = 0; i < c->n; i++) {
        if (!c->accepted[i]) continue;
        if (last >= 0 && c->time_s[i] - c->time_s[last] < rules->echo_s &&
            c->height[i] < rules->echo_threshold * c->height[last])
            c->accepted[i] = 0;
        last = i; /* an echo too: it is not compared with what came before it */
    }
}

/* Accepts the highest refused candidate of each long gap between accepted ones. */
static inline void accept_found_back(Candidates *c, const Rules *rules) {
    int64_t n = 0, *beat = c->column;
    for (int64_t i = 0; i < c->n; i++)
        if (c->accepted[i]) beat[n++] = i;
    if (n < 3) return;
    for (int64_t k = 0; k < n - 1; k++) c->members[k] = (float)(c->time_s[beat[k + 1]] - c->time_s[beat[k]]);
    running_median(c->members, n - 1, 9, c->usual);
    for (int64_t k = 0; k < n - 1; k++) {
        double rr_s = c->time_s[beat[k + 1]] - c->time_s[beat[k]];
        if (!(rr_s > (double)(rules->back_rr * c->usual[k]))) continue;
        int64_t best = -1;
        for (int64_t i = beat[k] + 1; i < beat[k + 1]; i++) {
            double left_s = c->time_s[i] - c->time_s[beat[k]], right_s = c->time_s[beat[k + 1]] - c->time_s[i];
            if (c->relative[i] > rules->back_threshold && (left_s < right_s ? left_s : right_s) > rules->echo_s &&
                (best < 0 || c->relative[i] > c->relative[best]))
                best = i;
        }
        if (best >= 0) c->accepted[best] = 1;
    }
}

/* Beats of rows of bumps (r, m). row, time_s and height have room for r * (m / 2) of them. Returns how many there are,
 * or -1 without memory. */
int64_t find_beats(const float *bumps, int64_t r, int64_t m, const Rules *rules, int64_t *row, double *time_s,
                   float *height) {
    int64_t room = m + 1, found = 0;
    char *memory = malloc(room * (3 * sizeof(double) + 6 * sizeof(float) + 2));
    if (!memory) return -1;
    Candidates c = {.position = (double *)memory};
    c.time_s = c.position + room;
    c.column = (int64_t *)(c.time_s + room);
    c.height = (float *)(c.column + room);
    c.relative = c.height + room;
    c.floor = c.relative + room;
    c.usual = c.floor + room;
    c.members = c.usual + room;
    c.accepted = (uint8_t *)(c.members + room);
    c.mark = c.accepted + room;
    for (int64_t i = 0; i < r; i++, bumps += m) {
        find_maxima(&c, bumps, m, rules->reach);
        for (int64_t k = 0; k < c.n; k++) c.time_s[k] = c.position[k] / rules->rate_hz;
        accept_first(&c, bumps, m, rules->first_reference_samples);
        memcpy(c.mark, c.accepted, c.n);
        accept_by_medians(&c, rules);
        /* What accepts the same as was accepted before would do so again. */
        if (memcmp(c.mark, c.accepted, c.n)) accept_by_medians(&c, rules);
        accept_found_back(&c, rules);
        for (int64_t k = 0; k < c.n; k++) {
            row[found] = i;
            time_s[found] = c.time_s[k];
            height[found] = c.height[k];
            found += c.accepted[k];
        }
    }
    free(memory);
    return found;
}

static inline float sum_of_8(const float *r) {
    return ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
}

/* Sum in the order of NumPy's pairwise summation, so that means come out the same. */
static inline float pairwise_sum(const float *values, int64_t n) {
    if (n < 8) {
        float sum = -0.0f;
        for (int64_t i = 0; i < n; i++) sum += values[i];
        return sum;
    }
    if (n <= 128) {
        float r[8];
        int64_t i;
        memcpy(r, values, sizeof r);
        for (i = 8; i < n - n % 8; i += 8)
            for (int k = 0; k < 8; k++) r[k] += values[i + k];
        float sum = sum_of_8(r);
        for (; i < n; i++) sum += values[i];
        return sum;
    }
    int64_t half = n / 2 - n / 2 % 8;
    return pairwise_sum(values, half) + pairwise_sum(values + half, n - half);
}

typedef struct {
    float second, third, fourth;
} Powers;

static inline Powers powers_of(float centred) {
    float squared = centred * centred;
    return (Powers){squared, squared * centred, squared * squared};
}

static inline Powers plus(Powers a, Powers b) {
    return (Powers){a.second + b.second, a.third + b.third, a.fourth + b.fourth};
}

/* The pairwise sums of the powers of what values are apart from their mean, all three at once. */
static inline Powers powers_sum(const float *values, int64_t n, float mean) {
    if (n < 8) {
        Powers sum = {-0.0f, -0.0f, -0.0f};
        for (int64_t i = 0; i < n; i++) sum = plus(sum, powers_of(values[i] - mean));
        return sum;
    }
    if (n <= 128) {
        float second[8], third[8], fourth[8];
        int64_t i;
        for (int k = 0; k < 8; k++) {
            Powers p = powers_of(values[k] - mean);
            second[k] = p.second, third[k] = p.third, fourth[k] = p.fourth;
        }
        for (i = 8; i < n - n % 8; i += 8)
            for (int k = 0; k < 8; k++) {
                Powers p = powers_of(values[i + k] - mean);
                second[k] += p.second, third[k] += p.third, fourth[k] += p.fourth;
            }
        Powers sum = {sum_of_8(second), sum_of_8(third), sum_of_8(fourth)};
        for (; i < n; i++) sum = plus(sum, powers_of(values[i] - mean));
        return sum;
    }
    int64_t half = n / 2 - n / 2 % 8;
    return plus(powers_sum(values, half, mean), powers_sum(values + half, n - half, mean));
}

/* Of each window (w, t): lowest, highest, and the means of the powers of what it is apart from its mean. */
int64_t moments(const float *windows, int64_t w, int64_t t, float *lowest, float *highest, float *second, float *third,
            float *fourth) {
    for (int64_t i = 0; i < w; i++, windows += t) {
        range_of(windows, t, lowest + i, highest + i);
        Powers sum = powers_sum(windows, t, pairwise_sum(windows, t) / (float)t);
        second[i] = sum.second / (float)t, third[i] = sum.third / (float)t, fourth[i] = sum.fourth / (float)t;
    }
    return 0;
}

/* Windows (w, t) of samples, each from its start on. */
int64_t copy_windows(const float *samples, const int64_t *start, int64_t w, int64_t t, float *windows) {
    for (int64_t i = 0; i < w; i++, windows += t) memcpy(windows, samples + start[i], t * sizeof(float));
    return 0;
}

/* The same windows, their means removed, times a taper (t,). */
int64_t tapered(const float *samples, const int64_t *start, int64_t w, int64_t t, const float *taper, float *result) {
    for (int64_t i = 0; i < w; i++, result += t) {
        const float *window = samples + start[i];
        float mean = pairwise_sum(window, t) / (float)t;
        for (int64_t j = 0; j < t; j++) result[j] = (window[j] - mean) * taper[j];
    }
    return 0;
}

/* Sums of squares of parts (w, p) from each edge to the next, the last to the end; parts are overwritten. The first
 * square is added last, as reduceat does. */
int64_t band_powers(float *parts, int64_t w, int64_t p, const int64_t *edges, int64_t bands, double *power) {
    for (int64_t i = 0; i < w; i++, parts += p) {
        for (int64_t j = 0; j < p; j++) parts[j] *= parts[j];
        for (int64_t b = 0; b < bands; b++) {
            int64_t stop = b + 1 < bands ? edges[b + 1] : p;
            int64_t rest = stop > edges[b] ? stop - edges[b] - 1 : 0;
            *power++ = parts[edges[b]] + pairwise_sum(parts + edges[b] + 1, rest);
        }
    }
    return 0;
}

/* Statistics (n, STATISTICS) of each window's intervals, which are sorted by window; zeros where it has none. */
enum { COUNT, MEAN, MEDIAN, VARIANCE, CHANGES, SQUARED_CHANGE, IRREGULAR, EARLY, PAIRS, OF_ONE, OF_TWO, STATISTICS };

int64_t interval_statistics(const int64_t *window, const double *seconds, int64_t count, double irregular_share,
                        double early_share, double entropy_tolerance, double *statistics) {
    double *sorted = malloc((count + 1) * sizeof(double));
    if (!sorted) return -1;
    for (int64_t first = 0, n; first < count; first += n) {
        const double *s = seconds + first;
        double *to = statistics + window[first] * STATISTICS, total = 0, squares = 0, changes = 0;
        for (n = 0; first + n < count && window[first + n] == window[first]; n++) {
            int64_t k = n;
            total += s[n];
            for (; k > 0 && sorted[k - 1] > s[n]; k--) sorted[k] = sorted[k - 1];
            sorted[k] = s[n];
        }
        double mean = total / (double)n, median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
        double irregular = irregular_share * median, early = early_share * median, close = entropy_tolerance * median;
        for (int64_t i = 0; i < n; i++) {
            squares += (s[i] - mean) * (s[i] - mean);
            to[EARLY] += s[i] < early;
            if (i + 1 == n) break;
            double change = s[i + 1] - s[i];
            changes += change * change;
            to[IRREGULAR] += (change < 0 ? -change : change) > irregular;
            for (int64_t j = i + 1; j + 1 < n; j++) {
                double apart = s[i] - s[j], next = s[i + 1] - s[j + 1];
                int one = (apart < 0 ? -apart : apart) <= close;
                to[OF_ONE] += one;
                to[OF_TWO] += one & ((next < 0 ? -next : next) <= close);
            }
        }
        to[COUNT] = n, to[MEAN] = mean, to[MEDIAN] = median, to[VARIANCE] = squares / (double)n;
        to[CHANGES] = n - 1, to[SQUARED_CHANGE] = changes, to[PAIRS] = n > 2 ? (n - 1) * (n - 2) / 2 : 0;
    }
    free(sorted);
    return 0;
}

/* Mean correlation of beats with the mean beat of their window (n, t); beats (b,) sorted by window, each span samples
 * from begin on, wholly inside. Windows of fewer than two are left as they are. */
int64_t template_correlation(const float *windows, int64_t t, const int64_t *window, const int64_t *begin, int64_t count,
                         int64_t span, float *result) {
    int64_t most = 1, n;
    for (int64_t first = 0; first < count; first += n) {
        for (n = 1; first + n < count && window[first + n] == window[first]; n++) continue;
        most = n > most ? n : most;
    }
    float *centred = malloc((most + 2) * span * sizeof(float));
    if (!centred) return -1;
    float *sum = centred + most * span, *product = sum + span;
    for (int64_t first = 0; first < count; first += n) {
        const float *signal = windows + window[first] * t;
        for (n = 0; first + n < count && window[first + n] == window[first]; n++) {
            const float *beat = signal + begin[first + n];
            float mean = pairwise_sum(beat, span) / (float)span;
            for (int64_t k = 0; k < span; k++) centred[n * span + k] = beat[k] - mean;
            for (int64_t k = 0; k < span; k++) sum[k] = n ? sum[k] + centred[n * span + k] : centred[k];
        }
        if (n < 2) continue;
        for (int64_t k = 0; k < span; k++) product[k] = sum[k] * sum[k];
        float power = pairwise_sum(product, span);
        double total = 0;
        for (const float *beat = centred; beat < centred + n * span; beat += span) {
            for (int64_t k = 0; k < span; k++) product[k] = beat[k] * beat[k];
            float both = pairwise_sum(product, span) * power;
            for (int64_t k = 0; k < span; k++) product[k] = beat[k] * sum[k];
            if (both > 0) total += (double)(pairwise_sum(product, span) / sqrtf(both));
        }
        result[window[first]] = (float)(total / (double)n);
    }
    free(centred);
    return 0;
}

/* Samples of frames (n, k), one byte each (offset by 128) or two (little-endian), signal after signal (k, n). */
int64_t deinterleave(const uint8_t *raw, int64_t bytes, int64_t n, int64_t k, int16_t *codes) {
    enum { BLOCK = 512 };
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t stop = first + BLOCK < n ? first + BLOCK : n;
        for (int64_t signal = 0; signal < k; signal++) {
            int16_t *to = codes + signal * n;
            const uint8_t *from = raw + signal * bytes;
            if (bytes * k == 4 && IS_LITTLE_ENDIAN)
                for (int64_t i = first; i < stop; i++) {
                    uint32_t frame;
                    memcpy(&frame, raw + 4 * i, 4);
                    frame >>= 8 * bytes * signal;
                    to[i] = bytes == 1 ? (int16_t)((frame & 255) - 128) : (int16_t)frame;
                }
            else if (bytes == 1)
                for (int64_t i = first; i < stop; i++) to[i] = (int16_t)(from[i * k] - 128);
            else
                for (int64_t i = first; i < stop; i++)
                    to[i] = (int16_t)(uint16_t)(from[2 * i * k] | from[2 * i * k + 1] << 8);
        }
    }
    return 0;
}

/* Sum modulo 2^16, lowest and highest of codes, the missing one left out of the last two. Returns whether there is
 * anything else. */
int64_t code_range(const int16_t *codes, int64_t n, int64_t missing, int64_t *range) {
    uint16_t sum = 0;
    int16_t low = INT16_MAX, high = INT16_MIN, none = (int16_t)missing;
    for (int64_t i = 0; i < n; i++) {
        sum += (uint16_t)codes[i];
        low = codes[i] < low ? codes[i] : low;
        high = codes[i] > high ? codes[i] : high;
    }
    range[0] = sum, range[1] = low, range[2] = high;
    if (low != missing) return n > 0;
    low = INT16_MAX, high = INT16_MIN;
    int any = 0;
    for (int64_t i = 0; i < n; i++) {
        if (codes[i] == none) continue;
        any = 1;
        low = codes[i] < low ? codes[i] : low;
        high = codes[i] > high ? codes[i] : high;
    }
    range[1] = low, range[2] = high;
    return any;
}

/* (codes - baseline) * scale, not-a-number where missing. Returns whether any is. */
int64_t physical(const int16_t *codes, int64_t n, int64_t missing, float baseline, float scale, float *result) {
    int16_t none = (int16_t)missing;
    int has_none = missing >= INT16_MIN, any = 0;
    for (int64_t i = 0; i < n; i++) {
        result[i] = ((float)codes[i] - baseline) * scale;
        any |= codes[i] == none;
    }
    if (!has_none || !any) return 0;
    for (int64_t i = 0; i < n; i++)
        if (codes[i] == none) result[i] = NAN;
    return 1;
}

/* Marks runs of at least length codes at or beyond the limits, entered and left by jump or more. Returns whether there
 * are any. */
int64_t clipped(const int16_t *codes, int64_t n, int64_t lowest_code, int64_t highest_code, int64_t length,
                int64_t jump, uint8_t *marked) {
    int64_t any = 0;
    int16_t lowest = (int16_t)lowest_code, highest = (int16_t)highest_code;
    for (int64_t i = 0; i < n;) {
        enum { BLOCK = 64 };
        if (i + BLOCK <= n) {
            int limited = 0;
            for (int k = 0; k < BLOCK; k++) limited |= (codes[i + k] >= highest) | (codes[i + k] <= lowest);
            if (!limited) {
                i += BLOCK;
                continue;
            }
        }
        int64_t end = i + BLOCK < n ? i + BLOCK : n;
        while (i < end) {
            if (codes[i] < highest && codes[i] > lowest) {
                i++;
                continue;
            }
            int64_t stop = i + 1;
            while (stop < n && (codes[stop] >= highest || codes[stop] <= lowest)) stop++;
            int64_t before = llabs((int64_t)codes[i > 0 ? i - 1 : 0] - codes[i]);
            int64_t after = llabs((int64_t)codes[stop < n ? stop : n - 1] - codes[i]);
            if (stop - i >= length && before >= jump && after >= jump) {
                memset(marked + i, 1, stop - i);
                any = 1;
            }
            i = stop;
        }
    }
    return any;
}

/* Some rows of signals (signals, n, t) times what is of each a step's inverse (rows, signals), rounded to even, as
 * steps (rows, signals, t). */
int64_t quantise(const float *signal, int64_t n, const int64_t *row, int64_t rows, int64_t signals, int64_t t,
                 const float *per_unit, int16_t *steps) {
    const float rounder = 12582912.0f; /* 1.5 * 2^23: where one is the last bit of a float */
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < signals; k++, per_unit++, steps += t) {
            const float *from = signal + (k * n + row[i]) * t;
            for (int64_t j = 0; j < t; j++) steps[j] = (int16_t)(int32_t)((from[j] * *per_unit + rounder) - rounder);
        }
    return 0;
}
