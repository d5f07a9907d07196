//! What is done with a connection before its handler gets it: nothing, or TLS.

use super::handler::Fault;

/// What is done with a connection before its handler gets it. Only this crate implements it.
pub trait Upgrade<S>: sealed::Sealed + Send + Sync + 'static {
    /// What the handler gets.
    type Stream;

    #[doc(hidden)]
    fn serve(
        &self,
        stream: S,
        handler: impl FnOnce(Self::Stream) -> Result<(), Fault>,
    ) -> Result<(), Fault>;
}

/// Nothing: the handler gets the connection as it is.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

pub(super) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Plain {}
}

impl<S> Upgrade<S> for Plain {
    type Stream = S;

    fn serve(&self, stream: S, handler: impl FnOnce(S) -> Result<(), Fault>) -> Result<(), Fault> {
        handler(stream)
    }
}
