//! A network that can fail: relays TCP to a service, until a test cuts the connections, swallows what they carry, or
//! slows it down.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A relay in front of one service. Dropping it closes every connection.
pub struct Network {
    pub address: SocketAddr,
    lines: Arc<Lines>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Lines {
    accepted: AtomicUsize,
    open: Mutex<Vec<Fate>>,
    delay_ms: Arc<AtomicU64>,
    refuses: AtomicBool,
}

/// What the test asks of every connection.
#[derive(Clone, Default)]
struct Fate {
    cut: CancellationToken,
    dark: CancellationToken,
    delay_ms: Arc<AtomicU64>,
}

impl Network {
    pub async fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let lines = Arc::<Lines>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, service, Arc::clone(&lines)));
        Self { address, lines, _tasks: tasks }
    }

    /// How many connections were opened so far.
    pub fn accepted(&self) -> usize {
        self.lines.accepted.load(Ordering::Relaxed)
    }

    /// Closes every open connection at once; new ones work.
    pub fn cut(&self) {
        self.lines.take().iter().for_each(|fate| fate.cut.cancel());
    }

    /// From now on new connections are closed at once, or work again.
    pub fn refuse(&self, refuses: bool) {
        self.lines.refuses.store(refuses, Ordering::Relaxed);
    }

    /// From now on each way takes this time, so that a round trip takes twice as long.
    pub fn delay(&self, way: Duration) {
        let way = way.as_millis().try_into().expect("a short time");
        self.lines.delay_ms.store(way, Ordering::Relaxed);
    }

    /// Every open connection stays open but carries nothing any more; new ones work.
    pub fn swallow(&self) {
        self.lines.take().iter().for_each(|fate| fate.dark.cancel());
    }
}

impl Lines {
    fn take(&self) -> Vec<Fate> {
        std::mem::take(&mut self.open.lock().expect("nobody panics in here"))
    }
}

async fn accept(listener: TcpListener, service: SocketAddr, lines: Arc<Lines>) {
    let mut tasks = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if lines.refuses.load(Ordering::Relaxed) {
            continue;
        }
        let fate = Fate { delay_ms: Arc::clone(&lines.delay_ms), ..Fate::default() };
        lines.accepted.fetch_add(1, Ordering::Relaxed);
        lines.open.lock().expect("nobody panics in here").push(fate.clone());
        tasks.spawn(carry(client, service, fate));
    }
}

async fn carry(mut client: TcpStream, service: SocketAddr, fate: Fate) {
    let Ok(mut service) = TcpStream::connect(service).await else { return };
    let (from_client, to_client) = client.split();
    let (from_service, to_service) = service.split();
    let there = pump(from_client, to_service, &fate);
    let back = async {
        pump(from_service, to_client, &fate).await;
        if fate.dark.is_cancelled() {
            // The service closed its end. While connections are dark, the client does not see that.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        () = fate.cut.cancelled() => {}
    }
}

/// Copies until either end closes. A delay holds up everything that comes meanwhile, too: what is asked and answered in
/// turn, as with a database, pays it once a way.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, fate: &Fate) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(Duration::from_millis(fate.delay_ms.load(Ordering::Relaxed))).await;
        if !fate.dark.is_cancelled() && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
