//! Compute threads behind a bounded channel: async callers in, one pipeline a thread, back-pressure when all are busy.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::Error;
use super::compare::{FaceComparison, Scorers};
use super::face::Face;
use super::model::RuntimeFault;
use super::pack::Pack;
use super::params::Params;
use super::pipeline::{Analyse, Analysis, Pipeline};
use super::session::Runtime;
use super::template::Template;
use visavis_domain::evidence::{Liveness, Mode};

/// How much of the machine the engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSettings {
    /// Compute threads, each with its own sessions (about 100 MB).
    pub threads: NonZeroUsize,
    /// Pictures that may wait for a thread; further callers wait to get in.
    pub queue: NonZeroUsize,
}

/// One thread a core, and as many waiting: a thread that falls free finds its next picture ready.
impl Default for EngineSettings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, queue: threads }
    }
}

/// Makes the analyser of one thread; called on that thread, and again after a panic.
pub type MakeAnalyser = dyn Fn() -> Result<Box<dyn Analyse>, RuntimeFault> + Send + Sync;

/// The vision engine of a process. Dropping it, or [`shutdown`](Self::shutdown), finishes what is queued and joins the
/// threads.
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

/// What is asked of a thread, and where the answer goes.
enum EngineTask {
    Analyse(Mode, ReplySender<Analysis>),
    Liveness(Box<Face>, ReplySender<Option<Liveness>>),
}

type ReplySender<T> = oneshot::Sender<Result<T, Error>>;

impl EngineTask {
    /// Nobody waits any more.
    fn is_forsaken(&self) -> bool {
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
    /// When a network does not load, does not fit the code or does not run.
    pub fn start(settings: EngineSettings, pack: Pack, runtime: Runtime) -> Result<Self, Error> {
        let scorers = pack.scorers().clone();
        let liveness = pack.liveness().map(|it| it.name().to_owned());
        let make: Arc<MakeAnalyser> =
            Arc::new(move || Ok(Box::new(Pipeline::open(&pack, &runtime, Params::default())?)));
        Self::start_with(settings, scorers, liveness, &make)
    }

    /// As [`start`](Self::start), with analysers that `make` makes: tests put fakes here. `liveness` names the model with
    /// which they test liveness, if they do.
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
                    // The starter hangs up early when another thread failed; then the channel is closed as well.
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
            // A thread that died before it could report panicked while loading.
            let report = started.recv().unwrap_or_else(|_| Err(RuntimeFault::Panicked("at start".to_owned())));
            report?;
        }
        Ok(engine)
    }

    /// Analyses one file. Waits while the queue is full. Dropping the future takes the picture out of the queue.
    ///
    /// # Errors
    /// [`Error::Image`] for a fault of the file, [`Error::Runtime`] for one of this machine, [`Error::Deadline`] once
    /// `deadline` has passed, [`Error::Closed`] after a shutdown.
    pub async fn analyse(&self, image: Bytes, mode: Mode, deadline: Instant) -> Result<Analysis, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(image, EngineTask::Analyse(mode, reply), answer, deadline).await
    }

    /// Tests whether the face, which an analysis of the same file found, is a living person's; `None` where no liveness
    /// model is installed. The file is decoded again: holding the pictures of all jobs would cost 70 MB each.
    ///
    /// # Errors
    /// As [`analyse`](Self::analyse).
    pub async fn liveness(&self, image: Bytes, face: Face, deadline: Instant) -> Result<Option<Liveness>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(image, EngineTask::Liveness(Box::new(face), reply), answer, deadline).await
    }

    /// The model that tests liveness, `name@version`, where one is installed.
    #[must_use]
    pub fn liveness_model(&self) -> Option<&str> {
        self.liveness.as_deref()
    }

    async fn ask<T>(
        &self,
        image: Bytes,
        task: EngineTask,
        answer: oneshot::Receiver<Result<T, Error>>,
        deadline: Instant,
    ) -> Result<T, Error> {
        let sender = lock(&self.jobs).clone().ok_or(Error::Closed)?;
        let job = EngineJob { image, task, deadline, span: Span::current() };
        let answer = async move {
            sender.send(job).await.map_err(|_| Error::Closed)?;
            drop(sender);
            answer.await.map_err(|_| Error::Closed)?
        };
        tokio::time::timeout_at(deadline.into(), answer).await.unwrap_or(Err(Error::Deadline))
    }

    /// Compares two templates that this engine made in `mode`; takes microseconds, on the caller's thread.
    ///
    /// # Errors
    /// When a template was made in a mode that lacks an embedder of this one.
    pub fn compare(&self, a: &Template, b: &Template, mode: Mode) -> Result<FaceComparison, Error> {
        Ok(self.scorers.of(mode).compare(a, b)?)
    }

    /// Places left in the queue, of those that the settings gave it; 0 when new callers would wait, and after a shutdown.
    #[must_use]
    pub fn free_places(&self) -> usize {
        lock(&self.jobs).as_ref().map_or(0, mpsc::Sender::capacity)
    }

    /// How templates are compared, with the calibrations.
    #[must_use]
    pub fn scorers(&self) -> &Scorers {
        &self.scorers
    }

    /// Takes no more pictures, finishes those that are queued and joins the threads. Blocks meanwhile: on an async
    /// runtime, call it by `spawn_blocking`. A second call does nothing.
    pub fn shutdown(&self) {
        lock(&self.jobs).take();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A panic ends the job it happened in, never the thread; there is nothing to do about one elsewhere.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// One compute thread's state.
struct EngineThread {
    make: Arc<MakeAnalyser>,
    /// `None` after a panic: the old one's state may be half-changed, so the next job gets a fresh one.
    analyser: Option<Box<dyn Analyse>>,
}

impl EngineThread {
    fn start(make: Arc<MakeAnalyser>) -> Result<Self, RuntimeFault> {
        let mut analyser = make()?;
        analyser.warm_up()?;
        Ok(Self { make, analyser: Some(analyser) })
    }

    fn serve(mut self, jobs: &Mutex<mpsc::Receiver<EngineJob>>) {
        // The lock is held while waiting: whoever has it takes the next job and lets the next thread wait.
        while let Some(job) = { lock(jobs).blocking_recv() } {
            if job.task.is_forsaken() {
                continue;
            }
            let span = job.span.clone();
            span.in_scope(|| self.answer(job));
        }
    }

    fn answer(&mut self, job: EngineJob) {
        let (image, deadline) = (&job.image, job.deadline);
        // The caller may have gone meanwhile: then nobody hears the answer.
        match job.task {
            EngineTask::Analyse(mode, reply) => {
                let go_on = || checkpoint(&reply, deadline);
                let result = self.run(&go_on, |analyser| analyser.analyse(image, mode, &go_on));
                let _ = reply.send(result);
            }
            EngineTask::Liveness(face, reply) => {
                let go_on = || checkpoint(&reply, deadline);
                let result = self.run(&go_on, |analyser| analyser.liveness(image, &face, &go_on));
                let _ = reply.send(result);
            }
        }
    }

    fn run<T>(
        &mut self,
        checkpoint: &dyn Fn() -> Result<(), Error>,
        task: impl FnOnce(&mut dyn Analyse) -> Result<T, Error>,
    ) -> Result<T, Error> {
        checkpoint()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut analyser = match self.analyser.take() {
                Some(analyser) => analyser,
                None => (self.make)()?,
            };
            let result = task(analyser.as_mut());
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

/// Whether it still makes sense to compute.
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

/// What these locks guard is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
