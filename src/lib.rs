//! Green threads for Linux: write blocking code, run a million of it.
#![deny(unsafe_code)]
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("greenroom runs on Linux, on x86_64 and aarch64 only");
