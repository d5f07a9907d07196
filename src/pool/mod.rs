//! So many greenlets at a time, and so many connections.
//!
//! | to | there is |
//! |---|---|
//! | run at most so many at a time | [`Pool::spawn`], which parks while the pool is full |
//! | keep greenlets together, to join or kill them all | [`Group`] |
//! | lend out things that are dear to make | [`Resources`] |
//!
//! # Nested use
//! A greenlet of a pool may use that pool. What gives it a result at once ([`Pool::apply`],
//! [`Pool::map`], [`Pool::imap`]) is done by the greenlet itself while the pool is full. A
//! [`Pool::spawn`] parks until another greenlet of the pool has ended; when all of them are parked
//! there, none ever will, and the last one to come panics instead.
//!
//! # Examples
//! ```
//! use greenroom::pool::Pool;
//! let pool = Pool::new(2);
//! let words = ["so", "many", "words"];
//! let lengths = pool.map(words.iter(), |word| word.len());
//! let lengths: Vec<usize> = lengths.into_iter().flatten().collect();
//! assert_eq!(lengths, [2, 4, 5]);
//! ```

mod crew;
mod group;
mod imap;
mod resources;
mod workers;

pub use group::Group;
pub use imap::{Imap, ImapUnordered};
pub use resources::{GetError, Lent, Resources};
pub use workers::Pool;
