//! Whose password is checked next. One thread of low priority checks them, so that guesses take no time from
//! comparisons. Reviewers in a known browser have a lane of their own, and in the lane of strangers no address takes
//! more than its share. A flood from outside thus delays strangers at most.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::DeskError;
use crate::domain::fair_limit::{FairLimit, FairPermit};

/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one lane that may wait: about two seconds' work.
const PLACES: usize = 40;
/// Of these for one address. Reviewers of an office may share one.
const PLACES_OF_ADDRESS: usize = 8;
/// And for one browser: it sends one form at a time.
const PLACES_OF_DEVICE: usize = 2;
/// Of the thread that hashes, in steps of `nice`. Compute threads then get about nine tenths of a core that both want.
const NICE: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// The two lanes, and the thread that serves both.
pub(super) struct PasswordTurns {
    strangers: TurnLane<IpNet>,
    known: TurnLane<Vec<u8>>,
    /// Unbounded, but only the two lanes' turns can send.
    thread: mpsc::Sender<Work>,
}

struct TurnLane<P: std::hash::Hash + Eq> {
    turn: Arc<Semaphore>,
    places: FairLimit<P>,
}

/// The right to have passwords checked or hashed, one after the other.
pub(super) struct PasswordTurn {
    _turn: OwnedSemaphorePermit,
    _place: PlaceInLane,
    thread: mpsc::Sender<Work>,
}

#[expect(dead_code, reason = "held, never read")]
enum PlaceInLane {
    Stranger(FairPermit<IpNet>),
    Known(FairPermit<Vec<u8>>),
}

impl PasswordTurns {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start() -> std::io::Result<Self> {
        let (thread, work) = mpsc::channel::<Work>();
        std::thread::Builder::new().name("passwords".to_owned()).spawn(move || {
            // Of this thread alone, as Linux has it. Without the right to do so it computes like the others.
            let _ = rustix::process::setpriority_process(None, NICE);
            for work in work {
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        })?;
        Ok(Self { strangers: TurnLane::new(PLACES_OF_ADDRESS), known: TurnLane::new(PLACES_OF_DEVICE), thread })
    }

    /// Waits for a turn of a browser that has not signed in yet.
    ///
    /// # Errors
    /// When too many wait, from that address or at all, or it takes too long.
    pub(super) async fn of_stranger(&self, address: IpNet) -> Result<PasswordTurn, DeskError> {
        let (turn, place) = self.strangers.wait(address).await?;
        Ok(PasswordTurn { _turn: turn, _place: PlaceInLane::Stranger(place), thread: self.thread.clone() })
    }

    /// Waits for a turn of a known browser, or of a session.
    ///
    /// # Errors
    /// When too many wait, or it takes too long.
    pub(super) async fn of_known(&self, id: &[u8]) -> Result<PasswordTurn, DeskError> {
        let (turn, place) = self.known.wait(id.to_vec()).await?;
        Ok(PasswordTurn { _turn: turn, _place: PlaceInLane::Known(place), thread: self.thread.clone() })
    }
}

impl<P: std::hash::Hash + Eq + Clone> TurnLane<P> {
    fn new(share: usize) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), places: FairLimit::with_share(PLACES, share) }
    }

    async fn wait(&self, party: P) -> Result<(OwnedSemaphorePermit, FairPermit<P>), DeskError> {
        let place = self.places.try_acquire(party, Instant::now()).map_err(|_| DeskError::Busy)?;
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turn).acquire_owned());
        let turn = turn.await.map_err(|_| DeskError::Busy)?.map_err(|_| DeskError::Busy)?;
        Ok((turn, place))
    }
}

impl PasswordTurn {
    /// Runs the work on the thread, and gives the turn back with its result. The thread keeps the turn to the end, even
    /// if the client goes away meanwhile.
    ///
    /// # Errors
    /// When the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Self), DeskError> {
        let (done, result) = oneshot::channel();
        let thread = self.thread.clone();
        let work = Box::new(move || {
            let _ = done.send((work(), self));
        });
        thread.send(work).map_err(|_| DeskError::Unavailable)?;
        result.await.map_err(|_| DeskError::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn address(last: u8) -> IpNet {
        IpNet::from(std::net::IpAddr::from([198, 51, 100, last]))
    }

    #[tokio::test]
    async fn a_flood_from_one_address_delays_no_other_address_for_long_and_no_known_browser_at_all() {
        let turns = PasswordTurns::start().unwrap();
        let first = turns.of_stranger(address(1)).await.unwrap();
        let mut flood: Vec<_> = (1..PLACES_OF_ADDRESS).map(|_| Box::pin(turns.of_stranger(address(1)))).collect();
        assert!(flood.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        assert!(matches!(turns.of_stranger(address(1)).await, Err(DeskError::Busy)));
        let mut other = Box::pin(turns.of_stranger(address(2)));
        assert!((&mut other).now_or_never().is_none(), "it has a place");
        let known = turns.of_known(b"device").now_or_never().unwrap().unwrap();
        assert_eq!(known.run(|| 7).await.unwrap().0, 7, "while a stranger has the turn of the other lane");
        drop(first);
        for waiting in flood {
            drop(waiting.await.unwrap());
        }
        assert_eq!(other.await.unwrap().run(|| 8).await.unwrap().0, 8);
    }

    #[tokio::test]
    async fn a_check_that_panics_harms_no_other() {
        let turns = PasswordTurns::start().unwrap();
        let turn = turns.of_known(b"a").await.unwrap();
        assert!(turn.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(turns.of_known(b"a").await.unwrap().run(|| 1).await.unwrap().0, 1);
    }
}
