//! What may go wrong in a simulation, and how often.

use std::time::Duration;

/// Beyond this rate of spurious wakes nobody would ever wait, and virtual time would stand still.
const SPURIOUS_MAX: u32 = 900;

/// How often what goes wrong: rates in thousandths of the operations concerned, all 0 at first.
///
/// Every decision comes from the seed. A fault never breaks the rules of sockets: an operation
/// moves bytes or fails, never both; what a stream delivers is a prefix of what was written.
///
/// # Examples
/// ```
/// use greenroom::net::TcpStream;
/// use greenroom::sim::{self, Faults};
/// use std::io::ErrorKind;
///
/// sim::run(1, || {
///     let _listener = greenroom::net::TcpListener::bind("10.0.0.1:80").unwrap();
///     sim::faults(Faults::none().refuse(1000));
///     let error = TcpStream::connect("10.0.0.1:80").unwrap_err();
///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub(super) refuse: u32,
    pub(super) reset: u32,
    pub(super) short: u32,
    pub(super) delay: u32,
    pub(super) delay_max: Duration,
    pub(super) spurious: u32,
    pub(super) exhaust: u32,
    pub(super) lose: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const fn none() -> Faults {
        Faults {
            refuse: 0,
            reset: 0,
            short: 0,
            delay: 0,
            delay_max: Duration::ZERO,
            spurious: 0,
            exhaust: 0,
            lose: 0,
        }
    }

    /// A poor network that loses nothing: one operation in ten is short, one in twenty is late
    /// by up to 20 ms, one wait in twenty ends for no reason. No operation fails.
    pub const fn light() -> Faults {
        Faults {
            short: 100,
            delay: 50,
            delay_max: Duration::from_millis(20),
            spurious: 50,
            ..Faults::none()
        }
    }

    /// A bad day: one operation in three is short, one in five is late by up to 200 ms, one wait
    /// in five ends for no reason; of the connects and accepts 5 % fail, of reads and writes 1 %,
    /// and 10 % of the datagrams are lost.
    pub const fn heavy() -> Faults {
        Faults {
            refuse: 50,
            reset: 10,
            short: 333,
            delay: 200,
            delay_max: Duration::from_millis(200),
            spurious: 200,
            exhaust: 50,
            lose: 100,
        }
    }

    /// Connects that are refused although somebody listens.
    ///
    /// # Panics
    /// Above 1000, as all the rates do.
    #[must_use]
    pub const fn refuse(self, per_mille: u32) -> Faults {
        let refuse = checked(per_mille);
        Faults { refuse, ..self }
    }

    /// Reads and writes of a TCP stream that find the connection reset. Both ends stay so; what
    /// was under way is lost.
    ///
    /// # Panics
    /// Above 1000.
    #[must_use]
    pub const fn reset(self, per_mille: u32) -> Faults {
        let reset = checked(per_mille);
        Faults { reset, ..self }
    }

    /// Reads and writes of a TCP stream that move fewer bytes than they could, often just one.
    ///
    /// # Panics
    /// Above 1000.
    #[must_use]
    pub const fn short(self, per_mille: u32) -> Faults {
        let short = checked(per_mille);
        Faults { short, ..self }
    }

    /// Operations on the network that begin late, by up to `most` of virtual time.
    ///
    /// # Panics
    /// Above 1000.
    #[must_use]
    pub const fn delay(self, per_mille: u32, most: Duration) -> Faults {
        let delay = checked(per_mille);
        Faults {
            delay,
            delay_max: most,
            ..self
        }
    }

    /// Waits of any kind that end for no reason, and operations on the network that are told
    /// "would block" although they would not. No call returns early for it.
    ///
    /// # Panics
    /// Above 900: if every wait ended at once, virtual time would stand still.
    #[must_use]
    pub const fn spurious(self, per_mille: u32) -> Faults {
        assert!(
            per_mille <= SPURIOUS_MAX,
            "the rate of spurious wakes is beyond 900 per mille"
        );
        Faults {
            spurious: per_mille,
            ..self
        }
    }

    /// Accepts that fail for want of descriptors (EMFILE). The connection stays in the queue.
    ///
    /// # Panics
    /// Above 1000.
    #[must_use]
    pub const fn exhaust(self, per_mille: u32) -> Faults {
        let exhaust = checked(per_mille);
        Faults { exhaust, ..self }
    }

    /// Datagrams that get lost.
    ///
    /// # Panics
    /// Above 1000.
    #[must_use]
    pub const fn lose(self, per_mille: u32) -> Faults {
        let lose = checked(per_mille);
        Faults { lose, ..self }
    }
}

const fn checked(per_mille: u32) -> u32 {
    assert!(
        per_mille <= 1000,
        "a rate in thousandths is not above a thousand"
    );
    per_mille
}
