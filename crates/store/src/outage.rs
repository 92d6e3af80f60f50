//! Whose fault an error of the database is: the statement's, this session's, or the whole connection's.

use std::io;

use sqlx::postgres::PgDatabaseError;

/// What an error says about the session on which it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionHealth {
    /// The session is good; the statement failed.
    Sound,
    /// The session must not be used again: it is ending, or it cannot write.
    Spent,
    /// The connection is broken or silent.
    Dead,
}

/// The error of a statement that got no answer in time.
pub(crate) fn silent() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database did not answer in time").into()
}

pub(crate) fn health(error: &sqlx::Error) -> SessionHealth {
    match error {
        sqlx::Error::Database(answer) => match answer.code().as_deref() {
            Some(code) if is_of_session(code) => SessionHealth::Spent,
            _ => SessionHealth::Sound,
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            SessionHealth::Dead
        }
        // Faults of values, and of using the library: Postgres did not even see them, or has answered.
        _ => SessionHealth::Sound,
    }
}

/// Whether our own database is at fault, so that the same call may succeed later: it does not answer, restarts, cannot
/// write, or has no room.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(answer) => {
            answer.code().is_some_and(|code| is_of_session(&code) || code.starts_with("53") || code == "58030")
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        error => health(error) == SessionHealth::Dead,
    }
}

/// Whether Postgres is not ready for connections, but will be in a moment.
pub(crate) fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(answer) => {
            let answer = answer.try_downcast_ref::<PgDatabaseError>();
            // Starting up, and too many connections.
            answer.is_some_and(|answer| matches!(answer.code(), "57P03" | "53300"))
        }
        _ => false,
    }
}

/// Connection exceptions, a server that ends its sessions, and a session that cannot write.
fn is_of_session(code: &str) -> bool {
    // read_only_sql_transaction; a standby gives it, too.
    const READ_ONLY: &str = "25006";
    // idle_in_transaction_session_timeout and its relatives.
    const TOO_LONG_IDLE: &str = "25P03";
    code == READ_ONLY || code == TOO_LONG_IDLE || code.starts_with("08") || code.starts_with("57P0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_or_cannot_write_is_spent_and_a_refused_statement_is_not() {
        for code in ["25006", "25P03", "57P01", "57P02", "57P03", "57P05", "08006"] {
            assert!(is_of_session(code), "{code}");
        }
        // A constraint, a timeout, a deadlock, a cancelled statement.
        for code in ["23505", "55P03", "40P01", "57014"] {
            assert!(!is_of_session(code), "{code}");
        }
    }

    #[test]
    fn silence_and_a_full_pool_are_outages_and_faults_of_values_are_not() {
        assert_eq!((health(&silent()), is_outage(&silent())), (SessionHealth::Dead, true));
        assert!(is_outage(&sqlx::Error::PoolTimedOut));
        let missing = sqlx::Error::RowNotFound;
        assert_eq!((health(&missing), is_outage(&missing)), (SessionHealth::Sound, false));
    }
}
