//! What a process has: descriptors, OS threads, memory.

use std::fs;
use std::time::{Duration, Instant};

/// The first round has not met all there is to meet: allocator, pools, thread-locals.
const MEMORY_MARGIN_KIB: usize = 64 << 10;
const SETTLING: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(crate) struct Counts {
    descriptors: usize,
    threads: usize,
    memory_kib: usize,
}

impl Counts {
    fn now() -> Counts {
        let entries = |path| fs::read_dir(path).map_or(0, Iterator::count);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|line| line.trim().strip_suffix(" kB"));
        Counts {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            memory_kib: memory.and_then(|kib| kib.parse().ok()).unwrap_or(0),
        }
    }

    /// As soon as it is as it was, or after a while: an OS thread that is joined is still listed
    /// for a moment.
    pub(crate) fn settled(wanted: Option<&Counts>) -> Counts {
        let begin = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
        loop {
            let now = Counts::now();
            let good = wanted.is_none_or(|wanted| wanted.compare(&now).is_empty());
            if good || begin.elapsed() > SETTLING {
                return now;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `now` has more.
    pub(crate) fn compare(&self, now: &Counts) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |what: &str, before: usize, after: usize, margin: usize| {
            if after > before + margin {
                faults.push(format!(
                    "{what}: {after}, and {before} after the first round"
                ));
            }
        };
        check("descriptors", self.descriptors, now.descriptors, 0);
        check("OS threads", self.threads, now.threads, 0);
        let margin = MEMORY_MARGIN_KIB;
        check("KiB of memory", self.memory_kib, now.memory_kib, margin);
        faults
    }
}
