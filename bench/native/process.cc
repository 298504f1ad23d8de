// Runs a program and says what it took: CPU (user and system, of it and of what it waited for), wall, greatest memory.
//
//   bench_process PROGRAM [ARGUMENT...]   ->  {"code":0,"cpuMs":..,"wallMs":..,"maxMB":..}
//
// The program's stdout is dropped; its stderr is ours. A bare fork and exec, so that the memory is the program's own.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_process PROGRAM [ARGUMENT...]\n");
    return 2;
  }
  timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  const pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_WRONLY), 1);
    execvp(argv[1], argv + 1);
    std::perror(argv[1]);
    _exit(127);
  }
  int status = 0;
  rusage used{};
  if (child < 0 || wait4(child, &status, 0, &used) < 0) return 1;
  clock_gettime(CLOCK_MONOTONIC, &to);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) * 1e-3;
  };
  const double wall =
      static_cast<double>(to.tv_sec - from.tv_sec) * 1e3 + static_cast<double>(to.tv_nsec - from.tv_nsec) * 1e-6;
  std::printf("{\"code\":%d,\"cpuMs\":%.3f,\"wallMs\":%.3f,\"maxMB\":%.3f}\n",
              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ms(used.ru_utime) + ms(used.ru_stime),
              wall, static_cast<double>(used.ru_maxrss) / 1024);
  return 0;
}
