/* A wall clock that can be stepped, preloaded into one process: the true one plus the microseconds that the file
 * FAULTS_CLOCK holds. The monotonic clock is left alone, as a real step leaves it. A wait until a moment of the wall
 * clock ends when the stepped clock shows that moment; meanwhile it returns now and then, as such waits may. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SLICE (SECOND / 20)

static const volatile int64_t *micros;

__attribute__((constructor)) static void find_clock(void) {
    const char *path = getenv("FAULTS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = mmap(NULL, sizeof *micros, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        abort();
    micros = page;
}

static int64_t true_now(clockid_t clock) {
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static int64_t step(void) {
    return micros ? *micros * 1000 : 0;
}

static struct timespec spec(int64_t nanos) {
    return (struct timespec){.tv_sec = nanos / SECOND, .tv_nsec = nanos % SECOND};
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!wall)
        return (int)syscall(SYS_clock_gettime, clock, now);
    *now = spec(true_now(clock) + step());
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact = spec(true_now(CLOCK_REALTIME) + step());
    *now = (struct timeval){.tv_sec = exact.tv_sec, .tv_usec = exact.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    time_t seconds = (true_now(CLOCK_REALTIME) + step()) / SECOND;
    if (now)
        *now = seconds;
    return seconds;
}

int timespec_get(struct timespec *now, int base) {
    *now = spec(true_now(CLOCK_REALTIME) + step());
    return base;
}

/* How long a wait may last in true time before the clock is looked at again. */
static struct timespec slice(const struct timespec *until) {
    int64_t now = true_now(CLOCK_REALTIME), left = until->tv_sec * SECOND + until->tv_nsec - step() - now;
    return spec(now + (left < SLICE ? left : SLICE));
}

static int is_over(const struct timespec *until) {
    return until->tv_sec * SECOND + until->tv_nsec <= true_now(CLOCK_REALTIME) + step();
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    int (*wait)(cnd_t *, mtx_t *, const struct timespec *) = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec end = slice(until);
    int result = wait(condition, mutex, &end);
    return result == thrd_timedout && !is_over(until) ? thrd_success : result;
}
