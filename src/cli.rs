//! The subcommands.

pub mod compare;
pub mod picture;
