/* A file system without locks, and a clock that jumps by a day: loaded before a process's libraries (LD_PRELOAD). */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int flock(int descriptor, int operation)
{
    errno = ENOLCK;
    return -1;
}

static long jump(void)
{
    static unsigned calls;
    return __sync_fetch_and_add(&calls, 1) % 3 ? 90000 : -90000;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);
    if (!result && clock == CLOCK_REALTIME)
        now->tv_sec += jump();
    return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
    int result = syscall(SYS_gettimeofday, now, zone);
    if (!result)
        now->tv_sec += jump();
    return result;
}

time_t time(time_t *place)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place)
        *place = now.tv_sec;
    return now.tv_sec;
}
