//! Usage, debits and wallets.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Case, Check};
use crate::books::MovementRow;
use crate::requests::PRICE;

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    vec![usage(case), debits(case), wallets(case)]
}

fn usage(case: &Case<'_>) -> Check {
    let mut check = Check::new("a live job with a verdict is counted once as usage, and no other");
    let mut counts: HashMap<Uuid, usize> = HashMap::new();
    for job in &case.books.usage {
        *counts.entry(*job).or_default() += 1;
    }
    for job in &case.books.jobs {
        let wanted = usize::from(job.state == "succeeded" && !job.sandbox);
        let found = counts.remove(&job.id).unwrap_or_default();
        check.hold(found == wanted, || format!("job {} is counted {found} times", job.id));
    }
    check.violations.extend(counts.keys().map(|job| format!("usage of job {job}, which is not there")));
    check
}

fn debits(case: &Case<'_>) -> Check {
    let mut check = Check::new("a confirmed live id_match is debited once, and nothing else");
    let mut debits: HashMap<Uuid, Vec<&MovementRow>> = HashMap::new();
    for movement in case.books.ledger.iter().filter(|movement| movement.kind == "debit") {
        debits.entry(movement.job_id.unwrap_or_default()).or_default().push(movement);
    }
    for (submission, jobs) in case.submissions() {
        for job in jobs {
            let found = debits.remove(&job.id).unwrap_or_default();
            let is_paid = submission.content.is_paid() && !job.sandbox && job.verdict.as_deref() == Some("approved");
            let is_right = found.len() == usize::from(is_paid)
                && found.iter().all(|debit| debit.amount_minor == PRICE && debit.tenant_id == job.tenant_id);
            check.hold(is_right, || format!("job {} ({:?}) has debits {found:?}", job.id, submission.content));
        }
    }
    check.violations.extend(debits.keys().map(|job| format!("debit of job {job}, which nobody submitted")));
    check
}

fn wallets(case: &Case<'_>) -> Check {
    let mut check = Check::new("each movement leaves the sum of those before, each wallet is the sum of its ledger");
    let mut balances: HashMap<Uuid, i64> = HashMap::new();
    // In the order of each wallet's movements.
    for movement in &case.books.ledger {
        let balance = balances.entry(movement.tenant_id).or_default();
        *balance += if movement.kind == "credit" { movement.amount_minor } else { -movement.amount_minor };
        let (sum, after) = (*balance, movement.balance_after);
        check.hold(sum == after, || format!("{movement:?} leaves {after}, the sum is {sum}"));
        *balance = after;
    }
    for wallet in &case.books.wallets {
        let sum = balances.get(&wallet.tenant_id).copied().unwrap_or_default();
        check.hold(wallet.balance == sum, || format!("wallet {} has {}, not {sum}", wallet.tenant_id, wallet.balance));
    }
    check
}
