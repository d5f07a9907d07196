//! Buffers as small as the answer allows.
//!
//! Two thousand requests in flight are two thousand sets of buffers, and most answers fit
//! a page of memory. The output buffer lives only while the request is written; the input
//! buffer starts small and grows when a read fills it.

use ureq::unversioned::transport::Buffers;

/// Room for the request line and the headers we send.
const OUTPUT_MAX: usize = 16 << 10;
/// The first input buffer.
const INPUT_MIN: usize = 4 << 10;
/// The last one; more than the longest head we accept, so an endless head meets that limit.
const INPUT_MAX: usize = 128 << 10;

/// What one connection holds: `input[start..end]` is received and not yet consumed.
#[derive(Debug, Default)]
pub(crate) struct SmallBuffers {
    output: Vec<u8>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    progress: bool,
}

impl SmallBuffers {
    /// Gives the output buffer back: the request is on its way.
    pub(crate) fn request_sent(&mut self) {
        self.output = Vec::new();
    }

    /// Moves what is unconsumed to the front; then makes room if there is none.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.input.is_empty() {
            self.input = vec![0; INPUT_MIN];
        } else if self.end == self.input.len() && self.end < INPUT_MAX {
            self.input.resize(self.end * 2, 0);
        }
    }
}

impl Buffers for SmallBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT_MAX];
        }
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
        assert!(
            self.end <= self.input.len(),
            "more read than there was room for"
        );
    }

    fn input_consume(&mut self, amount: usize) {
        self.start += amount;
        assert!(self.start <= self.end, "more consumed than was read");
        self.progress = amount > 0;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT_MAX];
        }
        (&mut self.input[self.end..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.progress
    }
}
