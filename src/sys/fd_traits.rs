//! The descriptor traits that std's socket types have, for ours.
//!
//! It stands here, and not with the types, for the one `unsafe fn` among them.

/// Gives `$ours` std's descriptor traits and the ways to and from `$std`, if that is named.
///
/// `$ours` has a field `source` with `as_fd`, and the functions `adopt(OwnedFd) -> Self` and
/// `release(self) -> OwnedFd`.
macro_rules! fd_traits {
    ($ours:ty) => {
        impl ::std::os::fd::AsFd for $ours {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.source.as_fd()
            }
        }

        impl ::std::os::fd::AsRawFd for $ours {
            fn as_raw_fd(&self) -> ::std::os::fd::RawFd {
                ::std::os::fd::AsRawFd::as_raw_fd(&self.source.as_fd())
            }
        }

        impl ::std::os::fd::IntoRawFd for $ours {
            fn into_raw_fd(self) -> ::std::os::fd::RawFd {
                ::std::os::fd::IntoRawFd::into_raw_fd(self.release())
            }
        }

        #[allow(unsafe_code)]
        impl ::std::os::fd::FromRawFd for $ours {
            unsafe fn from_raw_fd(fd: ::std::os::fd::RawFd) -> Self {
                // SAFETY: the caller of this function vouches for `fd`: open, and owned by nobody.
                Self::adopt(unsafe { ::std::os::fd::FromRawFd::from_raw_fd(fd) })
            }
        }

        impl From<::std::os::fd::OwnedFd> for $ours {
            fn from(fd: ::std::os::fd::OwnedFd) -> Self {
                Self::adopt(fd)
            }
        }

        impl From<$ours> for ::std::os::fd::OwnedFd {
            fn from(socket: $ours) -> Self {
                socket.release()
            }
        }
    };
    ($ours:ty, $std:ty) => {
        $crate::sys::fd_traits::fd_traits!($ours);

        impl From<$std> for $ours {
            fn from(socket: $std) -> Self {
                Self::adopt(socket.into())
            }
        }

        impl From<$ours> for $std {
            fn from(socket: $ours) -> Self {
                socket.release().into()
            }
        }
    };
}

pub(crate) use fd_traits;
