//! What must be gone is gone, what must be there is there, and rows belong together.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{Case, Check};

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    vec![receipts(case), kept(case), erased(case), letters(case), orphans(case)]
}

fn receipts(case: &Case<'_>) -> Check {
    let mut check = Check::new("an erased job keeps nothing, and has one receipt");
    for submission in &case.sight.submissions {
        for receipt in &submission.receipts {
            let job = receipt["job_id"].as_str().and_then(|id| case.job.get(&id.parse().ok()?));
            let is_right = *receipt == submission.receipts[0]
                && receipt["signature"].is_string()
                && job.is_some_and(|job| job.is_erased && job.keeps_nothing);
            check.hold(is_right, || format!("{}: receipt {receipt}", submission.label));
        }
    }
    let asked: BTreeSet<_> = case
        .sight
        .submissions
        .iter()
        .filter(|submission| submission.erasure_asked)
        .flat_map(|submission| &submission.accepted)
        .collect();
    for job in case.books.jobs.iter().filter(|job| job.is_erased) {
        check.hold(asked.contains(&job.id), || format!("job {} is erased, and nobody asked for it", job.id));
    }
    check
}

fn kept(case: &Case<'_>) -> Check {
    let mut check = Check::new("before its time an image has its blob");
    for image in case.stores.images_before.iter().filter(|image| image.has_key && !image.is_due) {
        let is_there = case.stores.blobs_before.contains(&image.id);
        check.hold(is_there, || format!("image {} has a key and no blob", image.id));
    }
    for id in &case.books.other_blobs {
        check.hold(case.stores.blobs_after.contains(id), || format!("{id} has a key and no blob"));
    }
    check
}

fn erased(case: &Case<'_>) -> Check {
    let mut check = Check::new("after its time no image, key, blob or record is left");
    check.counted = case.stores.images_before.len();
    let left = case.books.images.iter().filter(|image| image.is_due || !image.has_key);
    check.violations.extend(left.map(|image| format!("image {} with a key: {}", image.id, image.has_key)));
    let gone: BTreeSet<Uuid> = case.stores.images_before.iter().map(|image| image.id).collect();
    let rows: BTreeSet<Uuid> = case.books.images.iter().map(|image| image.id).collect();
    let blobs = case.stores.blobs_after.iter().filter(|id| gone.contains(id) && !rows.contains(id));
    check.violations.extend(blobs.map(|id| format!("blob {id} of an erased image")));
    check.violations.extend(case.books.leftovers.iter().cloned());
    check
}

fn letters(case: &Case<'_>) -> Check {
    let mut check = Check::new("failed jobs are among the dead letters, jobs in doubt have a case, and no others");
    let mut letters: HashMap<Uuid, usize> = HashMap::new();
    for job in &case.books.failed_letters {
        *letters.entry(*job).or_default() += 1;
    }
    let cases: BTreeSet<_> = case.books.cases.iter().collect();
    for job in &case.books.jobs {
        let found = letters.remove(&job.id).unwrap_or_default();
        check.hold(found == usize::from(job.state == "failed"), || {
            format!("job {} is {} and has {found} dead letters", job.id, job.state)
        });
        let in_doubt = job.verdict.as_deref() == Some("in_review");
        check.hold(cases.contains(&job.id) == in_doubt, || format!("job {} in doubt: {in_doubt}, its case", job.id));
    }
    for letter in &case.books.undelivered {
        check.look(Some(letter.clone()));
    }
    check
}

fn orphans(case: &Case<'_>) -> Check {
    let mut check = Check::new("rows belong together, and nothing waits");
    check.counted = case.books.jobs.len() + case.books.events.len() + case.books.deliveries.len();
    check.violations.clone_from(&case.books.orphans);
    check
}
