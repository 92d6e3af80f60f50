//! The engine under load, cancellation and panic, with analysers that wait until the test releases them; and once with
//! the real networks.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use visavis::domain::evidence::Mode;
use visavis::vision::engine::MakeAnalyser;
use visavis::vision::picture::Picture;
use visavis::vision::pipeline::Analyse;
use visavis::vision::scene::Scene;
use visavis::vision::{Analysis, Engine, EngineSettings, Error, Pass, RuntimeFault, Timings};

use super::vision_support::{pack, photo, pipeline, runtime};

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// An engine with one thread and a queue of one. Its analyser reports what it begins, and waits until the test releases
/// it.
struct Stage {
    engine: Engine,
    began: mpsc::Receiver<Bytes>,
    go: mpsc::Sender<()>,
    made: Arc<AtomicUsize>,
}

struct Fake {
    began: mpsc::Sender<Bytes>,
    go: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Analyse for Fake {
    fn analyse(&mut self, image: &[u8], _: Mode, pass: &mut Pass<'_>) -> Result<Analysis, Error> {
        self.began.send(Bytes::copy_from_slice(image)).unwrap();
        match image {
            b"panic" => panic!("as the test asked"),
            b"until the deadline" => loop {
                pass.checkpoint()?;
                std::thread::yield_now();
            },
            _ => self.go.lock().unwrap().recv().unwrap(),
        }
        pass.checkpoint()?;
        Ok(Analysis {
            width: 1,
            height: 1,
            faces: Vec::new(),
            primary: None,
            template: None,
            provenance: None,
            quality: None,
            scene: Scene::of(&Picture::black(1, 1)),
            timings: Timings::default(),
        })
    }
}

fn stage() -> Stage {
    let (began_sender, began) = mpsc::channel();
    let (go, go_receiver) = mpsc::channel();
    let go_receiver = Arc::new(Mutex::new(go_receiver));
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let make: Arc<MakeAnalyser> = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Fake { began: began_sender.clone(), go: Arc::clone(&go_receiver) }))
    });
    let settings = EngineSettings { threads: ONE, queue: ONE };
    let engine = Engine::start_with(settings, pack().scorers().clone(), None, &make).unwrap();
    Stage { engine, began, go, made: count }
}

fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn image(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_reported_and_nothing_runs() {
    let stage = stage();
    let answer = stage.engine.analyse(image("a"), Mode::Fast, Instant::now()).await;
    assert!(matches!(answer, Err(Error::Deadline)));
    stage.engine.shutdown();
    assert!(stage.began.try_recv().is_err());
}

#[tokio::test]
async fn a_deadline_stops_a_picture_between_two_stages() {
    let stage = stage();
    let soon = Instant::now() + Duration::from_millis(20);
    let answer = stage.engine.analyse(image("until the deadline"), Mode::Fast, soon).await;
    assert!(matches!(answer, Err(Error::Deadline)));
    // The thread is free again. It did not continue after the deadline.
    stage.go.send(()).unwrap();
    assert!(stage.engine.analyse(image("next"), Mode::Fast, later()).await.is_ok());
}

#[tokio::test]
async fn a_picture_whose_caller_went_away_is_skipped() {
    let stage = stage();
    let mut a = Box::pin(stage.engine.analyse(image("a"), Mode::Fast, later()));
    assert!((&mut a).now_or_never().is_none());
    assert_eq!(stage.began.recv().unwrap(), "a");
    let mut b = Box::pin(stage.engine.analyse(image("b"), Mode::Fast, later()));
    assert!((&mut b).now_or_never().is_none());
    drop(b);
    stage.go.send(()).unwrap();
    assert!(a.await.is_ok());
    stage.go.send(()).unwrap();
    assert!(stage.engine.analyse(image("c"), Mode::Fast, later()).await.is_ok());
    assert_eq!(stage.began.try_iter().collect::<Vec<_>>(), ["c"]);
}

#[tokio::test]
async fn callers_wait_while_the_queue_is_full() {
    let stage = stage();
    assert_eq!(stage.engine.free_places(), 1);
    let mut a = Box::pin(stage.engine.analyse(image("a"), Mode::Fast, later()));
    assert!((&mut a).now_or_never().is_none());
    assert_eq!(stage.began.recv().unwrap(), "a");
    let mut b = Box::pin(stage.engine.analyse(image("b"), Mode::Fast, later()));
    assert!((&mut b).now_or_never().is_none());
    assert_eq!(stage.engine.free_places(), 0, "a runs, b has the one place");
    let mut c = Box::pin(stage.engine.analyse(image("c"), Mode::Fast, later()));
    assert!((&mut c).now_or_never().is_none());
    for _ in 0..3 {
        stage.go.send(()).unwrap();
    }
    let (a, b, c) = tokio::join!(a, b, c);
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(stage.began.try_iter().collect::<Vec<_>>(), ["b", "c"]);
}

#[tokio::test]
async fn a_panic_ends_one_picture_and_the_thread_goes_on_with_a_fresh_analyser() {
    let stage = stage();
    let answer = stage.engine.analyse(image("panic"), Mode::Fast, later()).await;
    let Err(Error::Runtime(RuntimeFault::Panicked(message))) = answer else { panic!("{answer:?}") };
    assert_eq!(message, "as the test asked");
    stage.go.send(()).unwrap();
    assert!(stage.engine.analyse(image("next"), Mode::Fast, later()).await.is_ok());
    assert_eq!(stage.made.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_shutdown_finishes_queued_pictures_and_refuses_new_ones() {
    let stage = stage();
    let mut a = Box::pin(stage.engine.analyse(image("a"), Mode::Fast, later()));
    assert!((&mut a).now_or_never().is_none());
    stage.go.send(()).unwrap();
    stage.engine.shutdown();
    assert!(a.await.is_ok());
    assert!(matches!(stage.engine.analyse(image("b"), Mode::Fast, later()).await, Err(Error::Closed)));
}

#[test]
fn an_engine_whose_networks_do_not_load_does_not_start() {
    let make: Arc<MakeAnalyser> = Arc::new(|| Err(RuntimeFault::Score));
    let settings = EngineSettings { threads: NonZeroUsize::new(3).unwrap(), queue: ONE };
    let started = Engine::start_with(settings, pack().scorers().clone(), None, &make);
    assert!(matches!(started, Err(Error::Runtime(RuntimeFault::Score))));
}

#[test]
fn the_pipeline_asks_before_each_stage_whether_to_go_on() {
    let mut pipeline = pipeline();
    let photo = photo("obama.jpg");
    // Decode, detect, landmarks, and two embedders.
    for stages in 0..5 {
        let asked = AtomicUsize::new(0);
        let checkpoint = || if asked.fetch_add(1, Ordering::SeqCst) < stages { Ok(()) } else { Err(Error::Deadline) };
        assert!(matches!(pipeline.analyse(&photo, Mode::Accurate, &mut Pass::new(&checkpoint)), Err(Error::Deadline)));
        assert_eq!(asked.load(Ordering::SeqCst), stages + 1);
    }
    assert!(pipeline.analyse(&photo, Mode::Accurate, &mut Pass::default()).is_ok());
}

#[tokio::test]
async fn two_photos_of_one_person_match_and_of_two_people_do_not() {
    let settings = EngineSettings { threads: NonZeroUsize::new(2).unwrap(), queue: ONE };
    let engine = Engine::start(settings, pack(), runtime()).unwrap();
    for mode in [Mode::Fast, Mode::Accurate] {
        let analyse = |name: &'static str| engine.analyse(photo(name).into(), mode, later());
        let (a, b, c) = tokio::join!(analyse("obama.jpg"), analyse("obama2.jpg"), analyse("biden.jpg"));
        let [a, b, c] = [a, b, c].map(|found| found.unwrap().template.unwrap());
        assert!(engine.compare(&a, &b, mode).unwrap().similarity.get() > 0.85);
        assert!(engine.compare(&a, &c, mode).unwrap().similarity.get() < 0.5);
    }
}

#[tokio::test]
async fn a_fast_template_is_not_compared_accurately() {
    let settings = EngineSettings { threads: ONE, queue: ONE };
    let engine = Engine::start(settings, pack(), runtime()).unwrap();
    let found = engine.analyse(photo("obama.jpg").into(), Mode::Fast, later()).await.unwrap().template.unwrap();
    assert!(engine.compare(&found, &found, Mode::Fast).is_ok());
    let refused = engine.compare(&found, &found, Mode::Accurate);
    assert!(matches!(refused, Err(Error::Runtime(RuntimeFault::Template { model })) if model == "faceres"));
}

#[tokio::test]
async fn a_photo_without_a_face_is_a_result_and_a_file_that_is_no_image_is_an_error() {
    let engine = Engine::start(EngineSettings { threads: ONE, queue: ONE }, pack(), runtime()).unwrap();
    let found = engine.analyse(photo("no-face.png").into(), Mode::Fast, later()).await.unwrap();
    assert!(found.primary.is_none() && found.template.is_none() && found.faces.is_empty());
    let refused = engine.analyse(photo("not-an-image.jpg").into(), Mode::Fast, later()).await;
    assert!(matches!(refused, Err(Error::Image(fault)) if fault.code() == "unsupported_image_format"));
}
