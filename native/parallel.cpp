#include "parallel.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace rilievo {
namespace {

struct Job {
  int64_t n;
  const std::function<void(int64_t)>* body;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable finished;
  std::exception_ptr error;
  int64_t error_index = INT64_MAX;

  // Takes items until none is left.
  void work() {
    int64_t count = 0;
    for (int64_t i; (i = next.fetch_add(1)) < n;) {
      try {
        (*body)(i);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (i < error_index) {
          error_index = i;
          error = std::current_exception();
        }
      }
      ++count;
    }
    if (count && done.fetch_add(count) + count == n) {
      std::lock_guard lock(mutex);
      finished.notify_all();
    }
  }
};

class Pool {
 public:
  ~Pool() { stop(); }

  void resize(int n) {
    if (n <= 0) n = static_cast<int>(std::thread::hardware_concurrency());
    if (n < 1) n = 1;
    std::lock_guard guard(resize_mutex_);
    if (n == size_) return;
    stop();
    size_ = n;
    stopping_ = false;
    for (int i = 1; i < n; ++i) threads_.emplace_back([this] { loop(); });
  }

  int size() {
    std::lock_guard guard(resize_mutex_);
    return size_ ? size_ : 1;
  }

  void run(int64_t n, const std::function<void(int64_t)>& body) {
    auto job = std::make_shared<Job>();
    job->n = n;
    job->body = &body;
    if (size() > 1 && n > 1) {
      std::lock_guard lock(mutex_);
      jobs_.push_back(job);
      wake_.notify_all();
    }
    job->work();
    std::unique_lock lock(job->mutex);
    job->finished.wait(lock, [&] { return job->done.load() == n; });
    if (job->error) std::rethrow_exception(job->error);
  }

 private:
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& t : threads_) t.join();
    threads_.clear();
  }

  void loop() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
        if (stopping_) return;
        job = jobs_.front();
        if (job->next.load() >= job->n) {
          jobs_.pop_front();
          continue;
        }
      }
      job->work();
    }
  }

  std::mutex resize_mutex_, mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::vector<std::thread> threads_;
  int size_ = 0;
  bool stopping_ = false;
};

Pool& pool() {
  // Never destroyed: a thread joined while the interpreter shuts down could wait for ever.
  static Pool* p = [] {
    auto* q = new Pool;
    q->resize(0);
    return q;
  }();
  return *p;
}

}  // namespace

void set_num_threads(int n) { pool().resize(n); }
int num_threads() { return pool().size(); }

void parallel_for(int64_t n, const std::function<void(int64_t)>& body) {
  if (n <= 0) return;
  pool().run(n, body);
}

void parallel_ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (grain < 1) grain = 1;
  parallel_for((n + grain - 1) / grain, [&](int64_t i) {
    const int64_t begin = i * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

}  // namespace rilievo
