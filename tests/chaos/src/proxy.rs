//! A network that can fail: relays TCP to a service, and cuts, swallows, garbles or delays what it carries.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::lock;
use crate::plan::Trouble;

/// A relay before one service. Dropping it closes every connection.
pub struct Proxy {
    pub address: SocketAddr,
    lines: Arc<Lines>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Lines {
    open: Mutex<Vec<Fate>>,
    /// How late everything comes, in milliseconds.
    delay: AtomicU64,
}

/// What was decided about a connection.
#[derive(Clone, Default)]
struct Fate {
    cut: CancellationToken,
    dark: CancellationToken,
    garbled: CancellationToken,
}

/// Bytes that begin no message of Postgres, AMQP or HTTP.
const GARBAGE: [u8; 64] = [0xfe; 64];
/// After so long a silence a message has ended. Garbage inside one could pass for its content, which TCP and TLS never
/// let happen.
const SILENCE: Duration = Duration::from_millis(50);

impl Proxy {
    /// # Errors
    /// When no port is free.
    pub async fn before(service: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let lines = Arc::<Lines>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, service, Arc::clone(&lines)));
        Ok(Self { address, lines, _tasks: tasks })
    }

    /// Makes trouble. Returns when it is over, so a slow network lasts as long as the call.
    pub async fn suffer(&self, trouble: Trouble) {
        match trouble {
            Trouble::Cut => self.lines.take().iter().for_each(|fate| fate.cut.cancel()),
            Trouble::Swallow => self.lines.take().iter().for_each(|fate| fate.dark.cancel()),
            Trouble::Garble => self.lines.take().iter().for_each(|fate| fate.garbled.cancel()),
            Trouble::Slow { delay, time } => {
                self.lines.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                sleep(time).await;
                self.heal();
            }
        }
    }

    /// Nothing comes late any more.
    pub fn heal(&self) {
        self.lines.delay.store(0, Ordering::Relaxed);
    }
}

impl Lines {
    fn take(&self) -> Vec<Fate> {
        std::mem::take(&mut lock(&self.open))
    }
}

async fn accept(listener: TcpListener, service: SocketAddr, lines: Arc<Lines>) {
    let mut tasks = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let fate = Fate::default();
        lock(&lines.open).push(fate.clone());
        tasks.spawn(carry(client, service, fate, Arc::clone(&lines)));
        while tasks.try_join_next().is_some() {}
    }
}

async fn carry(mut client: TcpStream, service: SocketAddr, fate: Fate, lines: Arc<Lines>) {
    let Ok(mut service) = TcpStream::connect(service).await else { return };
    let _ = (client.set_nodelay(true), service.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_service, to_service) = service.split();
    let there = pump(from_client, to_service, &fate, &lines);
    let back = async {
        pump(from_service, to_client, &fate, &lines).await;
        if fate.dark.is_cancelled() {
            // The service closed its end. A dark connection does not tell the client.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        () = fate.cut.cancelled() => {}
    }
}

/// Copies until either end closes.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, fate: &Fate, lines: &Lines) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = silence(fate) => {
                let _ = to.write_all(&GARBAGE).await;
                // The other direction gets its garbage too before the connection closes.
                sleep(SILENCE).await;
                return;
            }
        };
        let Ok(length @ 1..) = read else { return };
        let delay = lines.delay.load(Ordering::Relaxed);
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if !fate.dark.is_cancelled() && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Ends when the connection is to be garbled and was silent long enough; begun anew after each chunk.
async fn silence(fate: &Fate) {
    fate.garbled.cancelled().await;
    sleep(SILENCE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that sends back what it gets, a relay before it, and a connection through the relay.
    async fn line() -> (Proxy, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::before(listener.local_addr().unwrap()).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut echoes = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                echoes.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        (proxy, stream, tasks)
    }

    async fn echo(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
        let mut back = [0; 4];
        stream.write_all(b"ping").await?;
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn a_cut_closes_and_garbage_comes_in_place_of_silence() {
        let (proxy, mut stream, _service) = line().await;
        assert_eq!(&echo(&mut stream).await.unwrap(), b"ping");
        proxy.suffer(Trouble::Cut).await;
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap_or(0), 0);

        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&echo(&mut stream).await.unwrap(), b"ping");
        proxy.suffer(Trouble::Garble).await;
        let mut garbage = Vec::new();
        let _ = stream.read_to_end(&mut garbage).await;
        assert!(garbage.starts_with(&GARBAGE[..1]), "{garbage:?}");
    }

    #[tokio::test]
    async fn a_swallowed_connection_stays_open_and_silent_while_new_ones_work() {
        let (proxy, mut dark, _service) = line().await;
        assert_eq!(&echo(&mut dark).await.unwrap(), b"ping");
        proxy.suffer(Trouble::Swallow).await;
        let mut fresh = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&echo(&mut fresh).await.unwrap(), b"ping");
        dark.write_all(b"ping").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(200), dark.read(&mut [0; 4])).await.is_err());
    }
}
