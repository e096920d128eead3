//! Training: rounds of steps, and the folder that a run leaves behind.
//!
//! A [`Session`](session::Session) runs the training procedure of a spec. What happens in a round is a
//! function of the state before it, the round's number and the seed, so a run that is killed and
//! resumed from its latest [checkpoint](checkpoints) ends with the same bits as one that was not.

pub mod alarms;
pub mod checkpoints;
pub mod curve;
pub mod description;
pub mod diagnose;
pub mod events;
pub mod folder;
pub mod initial;
pub mod interrupt;
pub mod measurements;
pub mod prefetch;
pub mod progress;
pub mod session;
pub mod step;

use crate::{
    data::DataError,
    executor::ExecuteError,
    sources::SourceError,
    tasks::TaskError,
    training::{alarms::Raised, checkpoints::RunCheckpointError, diagnose::Culprit, folder::FolderError},
};
use thiserror::Error;

/// Why training ended before its last round.
#[derive(Debug, Error, miette::Diagnostic)]
pub enum TrainError {
    /// The run's folder cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Folder(#[from] FolderError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] RunCheckpointError),
    /// The data cannot be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] SourceError),
    /// A picture cannot be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// A report failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Task(#[from] TaskError),
    /// A step has no gradient.
    #[error(transparent)]
    Program(#[from] visage_compiler::training::TrainingError),
    /// A program cannot run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Execute(#[from] ExecuteError),
    /// A network that has to be trained already is not.
    #[error("the values of the model `{model}` must be given, and `{name}` is not")]
    #[diagnostic(help("give a checkpoint that has it, or the run that trained it, with `--weights`"))]
    Untrained {
        /// The model.
        model: String,
        /// The first of its parameters that is missing.
        name: String,
    },
    /// An alarm that ends a run was raised.
    #[error("{raised}")]
    #[diagnostic(help("a checkpoint is written; `--resume` goes on all the same"))]
    Alarm {
        /// The alarm.
        raised: Raised,
    },
    /// A value became infinite or not a number.
    #[error("round {round}: {what} of the step `{step}` is not finite{}", found(culprit))]
    #[diagnostic(help(
        "the checkpoint of round {kept} is the last good state; a smaller learning rate, clipping or a guarded operation may help"
    ))]
    NotFinite {
        /// The round, counted from 0.
        round: u64,
        /// The step in which it happened.
        step: String,
        /// What was noticed: a measurement or a stored value.
        what: String,
        /// The operation that it began with.
        culprit: Option<Culprit>,
        /// The round of the checkpoint before.
        kept: u64,
    },
}

fn found(culprit: &Option<Culprit>) -> String {
    match culprit {
        None => String::new(),
        Some(culprit) => {
            format!(
                "\nit began with\n  {}\nof which {} of {} elements are not finite",
                culprit.shown, culprit.elements, culprit.of
            )
        }
    }
}
