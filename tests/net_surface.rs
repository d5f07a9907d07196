//! Moving code over is search and replace: one text, compiled against std's names and ours.
//!
//! It names every function and trait that std's socket types have on stable (Rust 1.95), with its
//! signature. `TcpStreamExt` is newer than the oldest Rust that we support, and so named for ours
//! only.
mod bounded;

use bounded::bounded;
use std::time::Duration;

macro_rules! surface {
    ($name:ident, $root:ident) => {
        mod $name {
            use super::Duration;
            use std::fmt::Debug;
            use std::io::{Error, Read, Result, Write};
            use std::iter::FusedIterator;
            use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
            use std::panic::{RefUnwindSafe, UnwindSafe};
            use std::path::Path;
            use $root::net::*;
            use $root::os::linux::net::SocketAddrExt;
            use $root::os::unix::net::{self, UnixDatagram, UnixListener, UnixStream};

            trait Free: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe {}
            impl<T: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe> Free for T {}

            fn owner<T>()
            where
                T: Free + AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd>,
            {
            }

            fn stream<T: Read + Write>() {}
            fn resolves<T: ToSocketAddrs + ?Sized>() {}
            fn yields<T: Free + Iterator<Item = Result<S>>, S>() {}

            fn tcp_stream() {
                owner::<TcpStream>();
                stream::<TcpStream>();
                stream::<&TcpStream>();
                let _: fn(&'static str) -> Result<TcpStream> = TcpStream::connect::<&str>;
                let _: fn(&SocketAddr, Duration) -> Result<TcpStream> = TcpStream::connect_timeout;
                let _: fn(&TcpStream) -> Result<SocketAddr> = TcpStream::peer_addr;
                let _: fn(&TcpStream) -> Result<SocketAddr> = TcpStream::local_addr;
                let _: fn(&TcpStream, Shutdown) -> Result<()> = TcpStream::shutdown;
                let _: fn(&TcpStream, &mut [u8]) -> Result<usize> = TcpStream::peek;
                let _: fn(&TcpStream) -> Result<TcpStream> = TcpStream::try_clone;
                let _: fn(&TcpStream) -> Result<Option<Error>> = TcpStream::take_error;
                let _: fn(&TcpStream, bool) -> Result<()> = TcpStream::set_nonblocking;
                let _: fn(&TcpStream, Option<Duration>) -> Result<()> = TcpStream::set_read_timeout;
                let _: fn(&TcpStream, Option<Duration>) -> Result<()> =
                    TcpStream::set_write_timeout;
                let _: fn(&TcpStream) -> Result<Option<Duration>> = TcpStream::read_timeout;
                let _: fn(&TcpStream) -> Result<Option<Duration>> = TcpStream::write_timeout;
                let _: fn(&TcpStream) -> Result<bool> = TcpStream::nodelay;
                let _: fn(&TcpStream, bool) -> Result<()> = TcpStream::set_nodelay;
                let _: fn(&TcpStream) -> Result<u32> = TcpStream::ttl;
                let _: fn(&TcpStream, u32) -> Result<()> = TcpStream::set_ttl;
            }

            #[allow(deprecated)]
            fn tcp_listener() {
                owner::<TcpListener>();
                yields::<Incoming<'static>, TcpStream>();
                fn fused<T: FusedIterator>() {}
                fused::<Incoming<'static>>();
                let _: fn(&'static str) -> Result<TcpListener> = TcpListener::bind::<&str>;
                let _: fn(&TcpListener) -> Result<SocketAddr> = TcpListener::local_addr;
                let _: fn(&TcpListener) -> Result<(TcpStream, SocketAddr)> = TcpListener::accept;
                let _: for<'a> fn(&'a TcpListener) -> Incoming<'a> = TcpListener::incoming;
                let _: fn(&TcpListener) -> Result<TcpListener> = TcpListener::try_clone;
                let _: fn(&TcpListener) -> Result<Option<Error>> = TcpListener::take_error;
                let _: fn(&TcpListener, bool) -> Result<()> = TcpListener::set_nonblocking;
                let _: fn(&TcpListener) -> Result<u32> = TcpListener::ttl;
                let _: fn(&TcpListener, u32) -> Result<()> = TcpListener::set_ttl;
                let _: fn(&TcpListener) -> Result<bool> = TcpListener::only_v6;
                let _: fn(&TcpListener, bool) -> Result<()> = TcpListener::set_only_v6;
            }

            fn udp_socket() {
                owner::<UdpSocket>();
                let _: fn(&'static str) -> Result<UdpSocket> = UdpSocket::bind::<&str>;
                let _: fn(&UdpSocket, &mut [u8]) -> Result<(usize, SocketAddr)> =
                    UdpSocket::recv_from;
                let _: fn(&UdpSocket, &mut [u8]) -> Result<(usize, SocketAddr)> =
                    UdpSocket::peek_from;
                let _: fn(&UdpSocket, &[u8], &'static str) -> Result<usize> =
                    UdpSocket::send_to::<&str>;
                let _: fn(&UdpSocket) -> Result<SocketAddr> = UdpSocket::peer_addr;
                let _: fn(&UdpSocket) -> Result<SocketAddr> = UdpSocket::local_addr;
                let _: fn(&UdpSocket, &'static str) -> Result<()> = UdpSocket::connect::<&str>;
                let _: fn(&UdpSocket, &[u8]) -> Result<usize> = UdpSocket::send;
                let _: fn(&UdpSocket, &mut [u8]) -> Result<usize> = UdpSocket::recv;
                let _: fn(&UdpSocket, &mut [u8]) -> Result<usize> = UdpSocket::peek;
                let _: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()> =
                    UdpSocket::join_multicast_v4;
                let _: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()> =
                    UdpSocket::leave_multicast_v4;
                let _: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()> = UdpSocket::join_multicast_v6;
                let _: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()> = UdpSocket::leave_multicast_v6;
                let _: fn(&UdpSocket) -> Result<UdpSocket> = UdpSocket::try_clone;
                let _: fn(&UdpSocket) -> Result<Option<Error>> = UdpSocket::take_error;
                let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_nonblocking;
                let _: fn(&UdpSocket, Option<Duration>) -> Result<()> = UdpSocket::set_read_timeout;
                let _: fn(&UdpSocket, Option<Duration>) -> Result<()> =
                    UdpSocket::set_write_timeout;
                let _: fn(&UdpSocket) -> Result<Option<Duration>> = UdpSocket::read_timeout;
                let _: fn(&UdpSocket) -> Result<Option<Duration>> = UdpSocket::write_timeout;
                let _: fn(&UdpSocket) -> Result<bool> = UdpSocket::broadcast;
                let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_broadcast;
                let _: fn(&UdpSocket) -> Result<bool> = UdpSocket::multicast_loop_v4;
                let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_multicast_loop_v4;
                let _: fn(&UdpSocket) -> Result<u32> = UdpSocket::multicast_ttl_v4;
                let _: fn(&UdpSocket, u32) -> Result<()> = UdpSocket::set_multicast_ttl_v4;
                let _: fn(&UdpSocket) -> Result<bool> = UdpSocket::multicast_loop_v6;
                let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_multicast_loop_v6;
                let _: fn(&UdpSocket) -> Result<u32> = UdpSocket::ttl;
                let _: fn(&UdpSocket, u32) -> Result<()> = UdpSocket::set_ttl;
            }

            fn unix_stream() {
                owner::<UnixStream>();
                stream::<UnixStream>();
                stream::<&UnixStream>();
                let _: fn(&'static Path) -> Result<UnixStream> = UnixStream::connect::<&Path>;
                let _: fn(&net::SocketAddr) -> Result<UnixStream> = UnixStream::connect_addr;
                let _: fn() -> Result<(UnixStream, UnixStream)> = UnixStream::pair;
                let _: fn(&UnixStream) -> Result<net::SocketAddr> = UnixStream::peer_addr;
                let _: fn(&UnixStream) -> Result<net::SocketAddr> = UnixStream::local_addr;
                let _: fn(&UnixStream, Shutdown) -> Result<()> = UnixStream::shutdown;
                let _: fn(&UnixStream) -> Result<UnixStream> = UnixStream::try_clone;
                let _: fn(&UnixStream) -> Result<Option<Error>> = UnixStream::take_error;
                let _: fn(&UnixStream, bool) -> Result<()> = UnixStream::set_nonblocking;
                let _: fn(&UnixStream, Option<Duration>) -> Result<()> =
                    UnixStream::set_read_timeout;
                let _: fn(&UnixStream, Option<Duration>) -> Result<()> =
                    UnixStream::set_write_timeout;
                let _: fn(&UnixStream) -> Result<Option<Duration>> = UnixStream::read_timeout;
                let _: fn(&UnixStream) -> Result<Option<Duration>> = UnixStream::write_timeout;
            }

            fn unix_listener() {
                owner::<UnixListener>();
                yields::<net::Incoming<'static>, UnixStream>();
                let _: fn(&'static UnixListener) -> net::Incoming<'static> =
                    IntoIterator::into_iter;
                let _: fn(&'static Path) -> Result<UnixListener> = UnixListener::bind::<&Path>;
                let _: fn(&net::SocketAddr) -> Result<UnixListener> = UnixListener::bind_addr;
                let _: fn(&UnixListener) -> Result<(UnixStream, net::SocketAddr)> =
                    UnixListener::accept;
                let _: fn(&UnixListener) -> Result<net::SocketAddr> = UnixListener::local_addr;
                let _: for<'a> fn(&'a UnixListener) -> net::Incoming<'a> = UnixListener::incoming;
                let _: fn(&UnixListener) -> Result<UnixListener> = UnixListener::try_clone;
                let _: fn(&UnixListener) -> Result<Option<Error>> = UnixListener::take_error;
                let _: fn(&UnixListener, bool) -> Result<()> = UnixListener::set_nonblocking;
            }

            fn unix_datagram() {
                owner::<UnixDatagram>();
                let _: fn(&'static Path) -> Result<UnixDatagram> = UnixDatagram::bind::<&Path>;
                let _: fn(&net::SocketAddr) -> Result<UnixDatagram> = UnixDatagram::bind_addr;
                let _: fn() -> Result<UnixDatagram> = UnixDatagram::unbound;
                let _: fn() -> Result<(UnixDatagram, UnixDatagram)> = UnixDatagram::pair;
                let _: fn(&UnixDatagram, &'static Path) -> Result<()> =
                    UnixDatagram::connect::<&Path>;
                let _: fn(&UnixDatagram, &net::SocketAddr) -> Result<()> =
                    UnixDatagram::connect_addr;
                let _: fn(&UnixDatagram) -> Result<net::SocketAddr> = UnixDatagram::local_addr;
                let _: fn(&UnixDatagram) -> Result<net::SocketAddr> = UnixDatagram::peer_addr;
                let _: fn(&UnixDatagram, &mut [u8]) -> Result<(usize, net::SocketAddr)> =
                    UnixDatagram::recv_from;
                let _: fn(&UnixDatagram, &mut [u8]) -> Result<usize> = UnixDatagram::recv;
                let _: fn(&UnixDatagram, &[u8], &'static Path) -> Result<usize> =
                    UnixDatagram::send_to::<&Path>;
                let _: fn(&UnixDatagram, &[u8], &net::SocketAddr) -> Result<usize> =
                    UnixDatagram::send_to_addr;
                let _: fn(&UnixDatagram, &[u8]) -> Result<usize> = UnixDatagram::send;
                let _: fn(&UnixDatagram, Shutdown) -> Result<()> = UnixDatagram::shutdown;
                let _: fn(&UnixDatagram) -> Result<UnixDatagram> = UnixDatagram::try_clone;
                let _: fn(&UnixDatagram) -> Result<Option<Error>> = UnixDatagram::take_error;
                let _: fn(&UnixDatagram, bool) -> Result<()> = UnixDatagram::set_nonblocking;
                let _: fn(&UnixDatagram, Option<Duration>) -> Result<()> =
                    UnixDatagram::set_read_timeout;
                let _: fn(&UnixDatagram, Option<Duration>) -> Result<()> =
                    UnixDatagram::set_write_timeout;
                let _: fn(&UnixDatagram) -> Result<Option<Duration>> = UnixDatagram::read_timeout;
                let _: fn(&UnixDatagram) -> Result<Option<Duration>> = UnixDatagram::write_timeout;
            }

            fn addresses() {
                resolves::<SocketAddr>();
                resolves::<SocketAddrV4>();
                resolves::<SocketAddrV6>();
                resolves::<(IpAddr, u16)>();
                resolves::<(Ipv4Addr, u16)>();
                resolves::<(Ipv6Addr, u16)>();
                resolves::<(&str, u16)>();
                resolves::<(String, u16)>();
                resolves::<str>();
                resolves::<String>();
                resolves::<&[SocketAddr]>();
                resolves::<&&String>();
                let _: fn(&str) -> std::result::Result<SocketAddr, AddrParseError> = str::parse;
                let _: fn(&net::SocketAddr) -> Option<&[u8]> = net::SocketAddr::as_abstract_name;
            }

            pub(super) fn names() {
                tcp_stream();
                tcp_listener();
                udp_socket();
                unix_stream();
                unix_listener();
                unix_datagram();
                addresses();
            }
        }
    };
}

surface!(theirs, std);
surface!(ours, greenroom);

#[test]
fn the_same_text_compiles_against_both() {
    let _bound = bounded();
    theirs::names();
    ours::names();
}

#[test]
fn what_std_has_since_1_89() {
    let _bound = bounded();
    use greenroom::net::TcpStream;
    use greenroom::os::linux::net::TcpStreamExt;
    use std::io::Result;
    let _: fn(&TcpStream, bool) -> Result<()> = TcpStream::set_quickack;
    let _: fn(&TcpStream) -> Result<bool> = TcpStream::quickack;
}
