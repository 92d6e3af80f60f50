//! The reviewers' desk over plain HTTP: pages, forms and the cookie, without a browser; and cases to review.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use url::form_urlencoded::Serializer;
use uuid::Uuid;
use visavis::desk::password;
use visavis::domain::evidence::Judgement;
use visavis::domain::ids::JobId;
use visavis::domain::job::Verdict;
use visavis::domain::outcome::ImageFinding;
use visavis::domain::policy::{self, Evidence};
use visavis::domain::quality::Quality;
use visavis::domain::review::{Opinion, Reviewer, ReviewerId, UNDO};
use visavis::domain::tenant::Account;
use visavis::store::jobs::Change;

use super::endings::{compared, live, picture, seen};
use super::outcomes::success;
use super::process::Process;
use super::{World, eventually, photos};

const SOON: Duration = Duration::from_secs(30);

/// The password of every reviewer in the tests.
pub const PASSWORD: &str = "a few plain words";

/// The quality of a face without any fault.
const GOOD: Quality = Quality {
    inter_eye_px: 48.0,
    sharpness: 0.4,
    brightness: 0.5,
    dynamic_range: 0.45,
    overexposed: 0.0,
    underexposed: 0.0,
    yaw_deg: 2.0,
    pitch_deg: -3.0,
    roll_deg: 1.0,
    eyes_open: 0.27,
    mouth_open: 0.02,
    eyes_darkness: 0.3,
    eyes_detail: 1.1,
    mouth_detail: 1.0,
    mouth_tint: 6.0,
    margin: 1.4,
    dominance: 1.0,
};

impl World {
    /// A reviewer of the first organisation's live cases.
    pub async fn reviewer(&self, login: &str) -> Reviewer {
        self.make_reviewer(Account::live(self.tenant.id), login, false).await
    }

    /// A lead reviewer of the first organisation's live cases.
    pub async fn lead(&self, login: &str) -> Reviewer {
        self.make_reviewer(Account::live(self.tenant.id), login, true).await
    }

    pub async fn make_reviewer(&self, account: Account, login: &str, is_lead: bool) -> Reviewer {
        let (login, name) = (login.to_owned(), login.to_uppercase());
        let reviewer = Reviewer { id: ReviewerId(Uuid::now_v7()), account, login, name, is_lead };
        let hash = password::hash(PASSWORD).expect("long enough");
        assert!(self.store().insert_reviewer(&reviewer, &hash).await.expect("the database answers"));
        reviewer
    }

    /// A waiting case with pictures. The score, in percent, must lie between the thresholds.
    pub async fn case(&self, score: f64) -> JobId {
        self.case_of(score, photos::small_face(), photos::small_face()).await
    }

    /// A waiting case with these pictures, which are at most 256 pixels wide and high.
    pub async fn case_of(&self, score: f64, reference: &[u8], probe: &[u8]) -> JobId {
        let id = self.submit_pair("face_match", reference, probe).await;
        self.end_in_doubt(id, score).await;
        id
    }

    /// Ends a submitted `face_match` as In Review, with this score in percent.
    pub async fn end_in_doubt(&self, id: JobId, score: f64) {
        let claim = self.store().claim_job(id).await.expect("the database answers").expect("nobody else takes it");
        let with_face = |image| match image {
            ImageFinding::Picture { faces, provenance, .. } => {
                // Roughly where the face is in the test photos.
                let face = Some([64.0, 24.0, 122.0, 98.0]);
                ImageFinding::Picture { width: 205, height: 256, faces, face, quality: Some(GOOD), provenance }
            }
            other @ ImageFinding::Unreadable { .. } => other,
        };
        let images = seen(with_face(picture(1)), with_face(picture(1))).images;
        let liveness = Some(live(0.45, Judgement::Uncertain));
        let outcome = policy::decide(claim.params.clone(), Evidence { images, liveness, ..compared(score / 100.0) });
        assert_eq!(outcome.verdict, Verdict::InReview, "{score} is between the thresholds");
        let ended = self.store().finish_succeeded(&claim, &success(outcome)).await;
        assert_eq!(ended.expect("the database answers"), Change::Done);
    }

    pub async fn take(&self, reviewer: &Reviewer, case: JobId) {
        assert_eq!(self.store().take_case(reviewer, case).await.expect("the database answers"), Change::Done);
    }

    /// Takes and decides the case. The decision can still be undone.
    pub async fn decide(&self, reviewer: &Reviewer, case: JobId, opinion: &Opinion, needs_two: bool) {
        self.take(reviewer, case).await;
        let decided = self.store().decide_case(reviewer, case, opinion, needs_two).await;
        assert_eq!(decided.expect("the database answers"), Change::Done);
    }

    pub async fn case_state(&self, case: JobId) -> String {
        self.scalar("SELECT state FROM review_cases WHERE job_id = $1", case).await
    }

    /// Waits for the state. A process with the role `api` may have to bring it about.
    pub async fn await_case_state(&self, case: JobId, state: &str) {
        eventually(state, SOON, async || self.case_state(case).await == state).await;
    }

    /// Lets the undo time pass, then waits for the state.
    pub async fn await_settled(&self, case: JobId, state: &str) {
        self.pass(UNDO).await;
        self.await_case_state(case, state).await;
    }
}

/// An opinion as a form gives it.
pub fn opinion(choice: &str, reasons: &[&str], note: &str) -> Opinion {
    let reasons: Vec<_> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
    Opinion::read(choice, &reasons, note).expect("the opinion is valid")
}

/// An answer of the desk.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub location: String,
    pub text: String,
}

impl Page {
    /// The id of the case that the answer redirects to.
    pub fn case(&self) -> JobId {
        let id = self.location.strip_prefix("/desk/cases/").unwrap_or_else(|| panic!("no case: {self:?}"));
        JobId(id.parse().expect("an id"))
    }
}

/// The request with a form as its body.
pub fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    let body = Serializer::new(String::new()).extend_pairs(form).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// A client of the desk that keeps the cookie and the CSRF token of one reviewer.
pub struct Desk {
    client: Client,
    base: String,
    cookies: Mutex<BTreeMap<String, String>>,
    csrf: Mutex<String>,
}

impl Desk {
    /// A client that is not signed in.
    pub fn of(process: &Process) -> Self {
        Self::at(process, IpAddr::from([127, 0, 0, 1]))
    }

    /// As [`Self::of`], at an address of its own, which begins with 127.
    pub fn at(process: &Process, address: IpAddr) -> Self {
        let client = Client::builder().no_proxy().redirect(Policy::none()).local_address(address).build();
        let client = client.expect("a client can be made");
        let base = format!("http://{}", process.address());
        Self { client, base, cookies: Mutex::default(), csrf: Mutex::default() }
    }

    /// The browser of this client, signed out: it has the other cookies still.
    pub fn signed_out(&self) -> Self {
        let mut cookies = self.cookies.lock().unwrap().clone();
        cookies.remove("visavis_desk");
        let (client, base) = (self.client.clone(), self.base.clone());
        Self { client, base, cookies: Mutex::new(cookies), csrf: Mutex::default() }
    }

    pub async fn signed_in(process: &Process, login: &str) -> Self {
        let desk = Self::of(process);
        let page = desk.sign_in(login, PASSWORD).await;
        assert_eq!((page.status, page.location.as_str()), (303, "/desk/queue"), "{}", page.text);
        desk
    }

    /// Signs in, and keeps the cookie and the CSRF token.
    pub async fn sign_in(&self, login: &str, password: &str) -> Page {
        let form = [("login", login), ("password", password), ("next", "")];
        let page = self.send(with_form(self.client.post(self.url("/desk/sign-in")), &form)).await;
        if page.status == 303 {
            let account = self.get("/desk/account").await.text;
            let token = account.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
            token.expect("a page has a token").clone_into(&mut self.csrf.lock().unwrap());
        }
        page
    }

    pub async fn get(&self, path: &str) -> Page {
        self.send(self.client.get(self.url(path))).await
    }

    /// A form as a page sends it.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Page {
        let token = self.csrf.lock().unwrap().clone();
        let form: Vec<_> = form.iter().copied().chain([("csrf", token.as_str())]).collect();
        self.send(with_form(self.client.post(self.url(path)), &form)).await
    }

    /// A form as the script sends it.
    pub async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Page {
        let token = self.csrf.lock().unwrap().clone();
        self.send(with_form(self.client.post(self.url(path)).header("x-csrf-token", token), form)).await
    }

    /// A request without the CSRF token. [`Self::send`] adds the cookie.
    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub async fn send(&self, request: RequestBuilder) -> Page {
        let response = request.header(COOKIE, self.cookie()).send().await.expect("the desk answers");
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("a cookie is text").split(';').next().unwrap_or_default();
            let (name, value) = cookie.split_once('=').expect("a cookie has a value");
            self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
        }
        let header = |name| response.headers().get(name).map_or("", |value| value.to_str().expect("headers are text"));
        let (status, location) = (response.status().as_u16(), header(LOCATION).to_owned());
        let text = response.bytes().await.expect("the desk answers in full");
        Page { status, location, text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// The cookies, to copy them.
    pub fn cookie(&self) -> String {
        let cookies = self.cookies.lock().unwrap();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
