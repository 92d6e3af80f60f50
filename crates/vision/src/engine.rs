//! Compute threads behind a bounded queue. Each thread has its own pipeline. Async callers wait while the queue is
//! full.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::analysis::Analysis;
use super::compare::{FaceComparison, Scorers};
use super::face::Face;
use super::fault::{Error, RuntimeFault};
use super::pack::Pack;
use super::params::Params;
use super::pass::Pass;
use super::pipeline::{Analyse, Pipeline};
use super::session::Runtime;
use super::template::Template;
use visavis_domain::evidence::{Liveness, Mode};

/// How much of the machine the engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSettings {
    /// Compute threads, each with its own sessions (about 100 MB).
    pub threads: NonZeroUsize,
    /// Pictures that may wait for a thread. Further callers wait until there is room.
    pub queue: NonZeroUsize,
}

/// One thread for each core, and as many waiting pictures: a thread that becomes free finds its next picture ready.
impl Default for EngineSettings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, queue: threads }
    }
}

/// Makes the analyser of one thread. It is called on that thread, and again after a panic.
pub type MakeAnalyser = dyn Fn() -> Result<Box<dyn Analyse>, RuntimeFault> + Send + Sync;

/// The vision engine of a process. Dropping it, or calling [`shutdown`](Self::shutdown), finishes the queued pictures
/// and joins the threads.
pub struct Engine {
    jobs: Mutex<Option<mpsc::Sender<EngineJob>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    scorers: Scorers,
    liveness: Option<String>,
}

struct EngineJob {
    image: Bytes,
    task: EngineTask,
    deadline: Instant,
    span: Span,
}

/// A task for a thread, and where the result goes.
enum EngineTask {
    Analyse(Mode, ReplySender<Analysis>),
    Liveness(Box<Face>, ReplySender<Option<Liveness>>),
}

type ReplySender<T> = oneshot::Sender<Result<T, Error>>;

impl EngineTask {
    /// Whether the caller went away.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Analyse(_, reply) => reply.is_closed(),
            Self::Liveness(_, reply) => reply.is_closed(),
        }
    }
}

impl Engine {
    /// Starts the threads and warms them up; blocks until all are ready (about half a second).
    ///
    /// # Errors
    /// When a network does not load, does not fit the code, or does not run.
    pub fn start(settings: EngineSettings, pack: Pack, runtime: Runtime) -> Result<Self, Error> {
        let scorers = pack.scorers().clone();
        let liveness = pack.liveness().map(|liveness| liveness.name().to_owned());
        let make: Arc<MakeAnalyser> =
            Arc::new(move || Ok(Box::new(Pipeline::open(&pack, &runtime, Params::default())?)));
        Self::start_with(settings, scorers, liveness, &make)
    }

    /// As [`start`](Self::start), with analysers from `make`. Tests pass fakes. `liveness` names the model that tests
    /// liveness, if there is one.
    ///
    /// # Errors
    /// When `make` or a warm-up fails, or a thread cannot be started.
    pub fn start_with(
        settings: EngineSettings,
        scorers: Scorers,
        liveness: Option<String>,
        make: &Arc<MakeAnalyser>,
    ) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(settings.queue.get());
        let receiver = Arc::new(Mutex::new(receiver));
        let (ready, started) = std::sync::mpsc::channel();
        let engine = Self { jobs: Mutex::new(Some(sender)), threads: Mutex::default(), scorers, liveness };
        for i in 0..settings.threads.get() {
            let (receiver, make, ready) = (Arc::clone(&receiver), Arc::clone(make), ready.clone());
            let thread = std::thread::Builder::new().name(format!("vision-{i}"));
            let thread = thread.spawn(move || match EngineThread::start(make) {
                Ok(worker) => {
                    // If another thread failed, the starter no longer listens. Then the channel is closed, too.
                    let _ = ready.send(Ok(()));
                    drop(ready);
                    worker.serve(&receiver);
                }
                Err(fault) => {
                    let _ = ready.send(Err(fault));
                }
            });
            lock(&engine.threads).push(thread.map_err(RuntimeFault::Thread)?);
        }
        drop(ready);
        for _ in 0..settings.threads.get() {
            // A thread that ended without a report panicked while loading.
            let report = started.recv().unwrap_or_else(|_| Err(RuntimeFault::Panicked("at start".to_owned())));
            report?;
        }
        Ok(engine)
    }

    /// Analyses one file. Waits while the queue is full. Dropping the future removes the picture from the queue.
    ///
    /// # Errors
    /// [`Error::Image`] when the file is at fault, [`Error::Runtime`] when this machine is, [`Error::Deadline`] once
    /// `deadline` has passed, and [`Error::Closed`] after a shutdown.
    pub async fn analyse(&self, image: Bytes, mode: Mode, deadline: Instant) -> Result<Analysis, Error> {
        let (reply, result) = oneshot::channel();
        self.submit(image, EngineTask::Analyse(mode, reply), result, deadline).await
    }

    /// Tests whether `face` is a living person's. An analysis of the same file must have found it. `None` if no
    /// liveness model is installed. The file is decoded again, because keeping the pictures of all jobs would take 70
    /// MB each.
    ///
    /// # Errors
    /// As [`analyse`](Self::analyse).
    pub async fn liveness(&self, image: Bytes, face: Face, deadline: Instant) -> Result<Option<Liveness>, Error> {
        let (reply, result) = oneshot::channel();
        self.submit(image, EngineTask::Liveness(Box::new(face), reply), result, deadline).await
    }

    /// The model that tests liveness, `name@version`, if one is installed.
    #[must_use]
    pub fn liveness_model(&self) -> Option<&str> {
        self.liveness.as_deref()
    }

    async fn submit<T>(
        &self,
        image: Bytes,
        task: EngineTask,
        result: oneshot::Receiver<Result<T, Error>>,
        deadline: Instant,
    ) -> Result<T, Error> {
        let sender = lock(&self.jobs).clone().ok_or(Error::Closed)?;
        let job = EngineJob { image, task, deadline, span: Span::current() };
        let result = async move {
            sender.send(job).await.map_err(|_| Error::Closed)?;
            drop(sender);
            result.await.map_err(|_| Error::Closed)?
        };
        tokio::time::timeout_at(deadline.into(), result).await.unwrap_or(Err(Error::Deadline))
    }

    /// Compares two templates that this engine made in `mode`. This takes microseconds, on the caller's thread.
    ///
    /// # Errors
    /// When a template was made in a mode that lacks an embedder of `mode`.
    pub fn compare(&self, a: &Template, b: &Template, mode: Mode) -> Result<FaceComparison, Error> {
        Ok(self.scorers.of(mode).compare(a, b)?)
    }

    /// Free places in the queue; 0 when new callers would have to wait, and after a shutdown.
    #[must_use]
    pub fn free_places(&self) -> usize {
        lock(&self.jobs).as_ref().map_or(0, mpsc::Sender::capacity)
    }

    /// How templates are compared, and the calibrations.
    #[must_use]
    pub fn scorers(&self) -> &Scorers {
        &self.scorers
    }

    /// Accepts no more pictures, finishes the queued ones and joins the threads. This blocks: on an async runtime, call
    /// it in `spawn_blocking`. A second call does nothing.
    pub fn shutdown(&self) {
        lock(&self.jobs).take();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A panic ends its job and never the thread. Elsewhere there is nothing that we could do about one.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The state of one compute thread.
struct EngineThread {
    make: Arc<MakeAnalyser>,
    /// `None` after a panic. The old analyser may be in an inconsistent state, so the next job gets a fresh one.
    analyser: Option<Box<dyn Analyse>>,
}

impl EngineThread {
    fn start(make: Arc<MakeAnalyser>) -> Result<Self, RuntimeFault> {
        let mut analyser = make()?;
        analyser.warm_up()?;
        Ok(Self { make, analyser: Some(analyser) })
    }

    fn serve(mut self, jobs: &Mutex<mpsc::Receiver<EngineJob>>) {
        // A waiting thread holds the lock. It takes the next job and then lets the next thread wait.
        while let Some(job) = { lock(jobs).blocking_recv() } {
            if job.task.is_abandoned() {
                continue;
            }
            let span = job.span.clone();
            span.in_scope(|| self.process(job));
        }
    }

    fn process(&mut self, job: EngineJob) {
        let (image, deadline) = (&job.image, job.deadline);
        // Sending fails if the caller went away. Nobody needs the result then.
        match job.task {
            EngineTask::Analyse(mode, reply) => {
                let checkpoint = || checkpoint(&reply, deadline);
                let result = self.run(&checkpoint, |analyser, pass| analyser.analyse(image, mode, pass));
                let _ = reply.send(result);
            }
            EngineTask::Liveness(face, reply) => {
                let checkpoint = || checkpoint(&reply, deadline);
                let result = self.run(&checkpoint, |analyser, pass| analyser.liveness(image, &face, pass));
                let _ = reply.send(result);
            }
        }
    }

    fn run<T>(
        &mut self,
        checkpoint: &dyn Fn() -> Result<(), Error>,
        task: impl FnOnce(&mut dyn Analyse, &mut Pass<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut pass = Pass::new(checkpoint);
        pass.checkpoint()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut analyser = match self.analyser.take() {
                Some(analyser) => analyser,
                None => (self.make)()?,
            };
            let result = task(analyser.as_mut(), &mut pass);
            self.analyser = Some(analyser);
            result
        }));
        outcome.unwrap_or_else(|panic| {
            let message = panic_message(panic.as_ref());
            tracing::error!(panic = message, "the vision code panicked; the thread goes on with fresh sessions");
            Err(RuntimeFault::Panicked(message.to_owned()).into())
        })
    }
}

/// Fails once the result is no longer needed.
fn checkpoint<T>(reply: &ReplySender<T>, deadline: Instant) -> Result<(), Error> {
    if reply.is_closed() {
        Err(Error::Closed)
    } else if Instant::now() >= deadline {
        Err(Error::Deadline)
    } else {
        Ok(())
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// The guarded values are consistent after every statement, so a panic of another thread does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
