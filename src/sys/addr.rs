//! Socket addresses as the kernel writes them.
//!
//! ```text
//! offset  0      2      4          8             24       28
//! inet    family port   address    zero .. 16
//! inet6   family port   flow info  address ..... scope id
//! unix    family path, or NUL and an abstract name ............. 110
//! ```
//!
//! Kept as plain bytes: putting one together and taking it apart needs no `unsafe`, and what the
//! kernel says about a length is never trusted beyond the bytes that are there.
use std::ffi::{OsStr, c_int};
use std::io;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;

const SIZE: usize = size_of::<libc::sockaddr_storage>();
const INET_SIZE: usize = size_of::<libc::sockaddr_in>();
const INET6_SIZE: usize = size_of::<libc::sockaddr_in6>();
const UNIX_SIZE: usize = size_of::<libc::sockaddr_un>();
const PATH: usize = offset_of!(libc::sockaddr_un, sun_path);

const _: () = assert!(
    PATH == 2
        && offset_of!(libc::sockaddr_in, sin_port) == 2
        && offset_of!(libc::sockaddr_in, sin_addr) == 4
        && offset_of!(libc::sockaddr_in6, sin6_port) == 2
        && offset_of!(libc::sockaddr_in6, sin6_flowinfo) == 4
        && offset_of!(libc::sockaddr_in6, sin6_addr) == 8
        && offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24
);

/// An address of any family, in the kernel's own form.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub(crate) struct SockAddr {
    bytes: [u8; SIZE],
    len: libc::socklen_t,
}

impl SockAddr {
    /// Room for an address that the kernel will fill in.
    pub(super) fn room() -> SockAddr {
        SockAddr {
            bytes: [0; SIZE],
            len: SIZE as libc::socklen_t,
        }
    }

    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(super) fn len(&self) -> libc::socklen_t {
        self.len
    }

    pub(super) fn parts_mut(&mut self) -> (*mut u8, *mut libc::socklen_t) {
        (self.bytes.as_mut_ptr(), &raw mut self.len)
    }

    pub(crate) fn family(&self) -> c_int {
        c_int::from(u16::from_ne_bytes(self.take(0)))
    }

    /// The internet address in it.
    pub(crate) fn to_inet(&self) -> io::Result<SocketAddr> {
        let port = u16::from_be_bytes(self.take(2));
        match (self.family(), self.len as usize) {
            (libc::AF_INET, INET_SIZE..) => {
                Ok(SocketAddrV4::new(Ipv4Addr::from(self.take::<4>(4)), port).into())
            }
            (libc::AF_INET6, INET6_SIZE..) => Ok(SocketAddrV6::new(
                Ipv6Addr::from(self.take::<16>(8)),
                port,
                u32::from_ne_bytes(self.take(4)),
                u32::from_ne_bytes(self.take(24)),
            )
            .into()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "invalid argument",
            )),
        }
    }

    /// The Unix address in it.
    ///
    /// A path that fills all 108 bytes (bound by a program that left the NUL out) can't be said
    /// with what std offers in public; it reads as unnamed, which is better than to lose the
    /// datagram that came with it.
    pub(crate) fn to_unix(&self) -> io::Result<UnixAddr> {
        let len = self.len as usize;
        if len != 0 && self.family() != libc::AF_UNIX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "file descriptor did not correspond to a Unix socket",
            ));
        }
        match self.bytes.get(PATH..len.min(UNIX_SIZE)).unwrap_or_default() {
            [] => unnamed(),
            [0, name @ ..] => UnixAddr::from_abstract_name(name),
            path => {
                let end = path
                    .iter()
                    .position(|&byte| byte == 0)
                    .unwrap_or(path.len());
                UnixAddr::from_pathname(OsStr::from_bytes(&path[..end])).or_else(|_| unnamed())
            }
        }
    }

    fn of_family(family: c_int, len: usize) -> SockAddr {
        let mut addr = SockAddr {
            bytes: [0; SIZE],
            len: len as libc::socklen_t,
        };
        addr.put(0, &(family as u16).to_ne_bytes());
        addr
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.bytes[at + i])
    }
}

fn unnamed() -> io::Result<UnixAddr> {
    // An empty path is what std takes for no name at all: the length stops before the path.
    UnixAddr::from_pathname("")
}

impl From<&SocketAddr> for SockAddr {
    fn from(addr: &SocketAddr) -> SockAddr {
        let mut raw = match addr {
            SocketAddr::V4(_) => SockAddr::of_family(libc::AF_INET, INET_SIZE),
            SocketAddr::V6(_) => SockAddr::of_family(libc::AF_INET6, INET6_SIZE),
        };
        raw.put(2, &addr.port().to_be_bytes());
        match addr {
            SocketAddr::V4(v4) => raw.put(4, &v4.ip().octets()),
            SocketAddr::V6(v6) => {
                raw.put(4, &v6.flowinfo().to_ne_bytes());
                raw.put(8, &v6.ip().octets());
                raw.put(24, &v6.scope_id().to_ne_bytes());
            }
        }
        raw
    }
}

impl From<&UnixAddr> for SockAddr {
    fn from(addr: &UnixAddr) -> SockAddr {
        if let Some(name) = addr.as_abstract_name() {
            let mut raw = SockAddr::of_family(libc::AF_UNIX, PATH + 1 + name.len());
            raw.put(PATH + 1, name);
            raw
        } else if let Some(path) = addr.as_pathname() {
            let path = path.as_os_str().as_bytes();
            let len = (PATH + path.len() + 1).min(UNIX_SIZE);
            let mut raw = SockAddr::of_family(libc::AF_UNIX, len);
            raw.put(PATH, path);
            raw
        } else {
            SockAddr::of_family(libc::AF_UNIX, PATH)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn an_internet_address_survives_the_way_there_and_back() {
        let _bound = bounded();
        for text in [
            "127.0.0.1:80",
            "255.1.2.3:65535",
            "[::1]:443",
            "[fe80::1%7]:1",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SockAddr::from(&addr).to_inet().unwrap(), addr);
        }
        let flow: SocketAddr = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9, 77, 3).into();
        assert_eq!(SockAddr::from(&flow).to_inet().unwrap(), flow);
    }

    #[test]
    fn a_unix_address_survives_the_way_there_and_back() {
        let _bound = bounded();
        let path = UnixAddr::from_pathname("/tmp/some.sock").unwrap();
        let back = SockAddr::from(&path).to_unix().unwrap();
        assert_eq!(back.as_pathname(), path.as_pathname());

        let name = UnixAddr::from_abstract_name(b"a\0b").unwrap();
        let back = SockAddr::from(&name).to_unix().unwrap();
        assert_eq!(back.as_abstract_name(), Some(&b"a\0b"[..]));

        let back = SockAddr::from(&unnamed().unwrap()).to_unix().unwrap();
        assert!(back.is_unnamed());
    }

    #[test]
    fn no_address_at_all_is_an_unnamed_unix_one() {
        let _bound = bounded();
        let nothing = SockAddr {
            len: 0,
            ..SockAddr::room()
        };
        assert!(nothing.to_unix().unwrap().is_unnamed());
        assert!(nothing.to_inet().is_err());
    }

    #[test]
    fn a_path_without_its_nul_does_not_lose_the_datagram() {
        let _bound = bounded();
        let mut full = SockAddr::of_family(libc::AF_UNIX, UNIX_SIZE + 1);
        full.put(PATH, &[b'x'; UNIX_SIZE - PATH]);
        assert!(full.to_unix().unwrap().is_unnamed());
    }

    #[test]
    fn one_family_does_not_pass_for_another() {
        let _bound = bounded();
        let inet: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let error = SockAddr::from(&inet).to_unix().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let short = SockAddr {
            len: 4,
            ..SockAddr::from(&inet)
        };
        assert!(short.to_inet().is_err());
    }
}
