//! What tells one picture of a generator from another, drawn by seed.
//!
//! | option | meaning |
//! |---|---|
//! | `codes` | the task that makes codes of what is drawn: each of its outputs is the input of the same name of the task that is fed. Without one, that task is given what is drawn |
//! | `latent` | the inputs that are drawn from a normal distribution; `"z"` unless given, where there is such an input |
//! | `mean` | a task whose outputs are the means of codes of the same names |
//! | `psi` | truncation, mean + psi (code − mean), of each code that has a mean; 1 unless given, which is the code itself |

use super::{
    Companions, Context, TaskError, one_picture,
    prepared::{Prepared, known},
};
use crate::{
    buffer::{Buffer, State},
    data::Draws,
    options::{OptionError, Options},
};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use visage_compiler::{
    graph::DType,
    random::RandomKey,
    system::{Input, Task},
};

/// The codes of one picture, by the names of the inputs that take them.
pub(super) type Codes = IndexMap<String, Vec<f32>>;

/// The input that is drawn unless an option says otherwise.
const LATENT: &str = "z";

/// The options.
#[derive(Clone, Debug)]
pub(super) struct CodeSettings {
    codes: Option<String>,
    mean: Option<String>,
    psi: f64,
    latents: Option<Vec<String>>,
}

impl CodeSettings {
    /// Reads them.
    ///
    /// # Errors
    /// One is of the wrong kind.
    pub fn read(options: &mut Options) -> Result<CodeSettings, OptionError> {
        let settings = CodeSettings {
            codes: options.text("codes")?,
            mean: options.text("mean")?,
            psi: options.number("psi")?.unwrap_or(1.0),
            latents: options.texts("latent")?,
        };
        if !settings.psi.is_finite() {
            return Err(options.error("`psi` must be a finite number"));
        }
        if settings.psi != 1.0 && settings.mean.is_none() {
            return Err(options.error("`psi` draws codes towards their means: name the task of these by `mean`"));
        }
        Ok(settings)
    }

    /// Whether any of them says that codes are made.
    pub fn is_needed(&self) -> bool {
        self.codes.is_some() || self.latents.is_some()
    }
}

/// The other tasks that are run: those of codes and of their means.
pub(super) fn companions(mut options: Options) -> Companions {
    let named = [options.text("codes"), options.text("mean")];
    Companions { required: named.into_iter().filter_map(Result::ok).flatten().collect(), ..Companions::default() }
}

/// Makes codes of seeds.
#[derive(Debug)]
pub(super) struct Coder {
    /// The task of codes, with what it is fed.
    codes: Option<(Prepared, Vec<Latent>)>,
    /// What the task that is fed takes as it is drawn.
    drawn: Vec<Latent>,
    /// Means, where codes are truncated.
    mean: Codes,
    psi: f64,
}

/// An input that is drawn.
#[derive(Clone, Debug)]
struct Latent {
    name: String,
    /// How many numbers an image has.
    numbers: usize,
}

impl Latent {
    /// What an input of a task needs for one image: its first axis counts images where it has several.
    fn new(name: &str, declared: &Input) -> Latent {
        let sizes: Vec<usize> = declared.ty.shape.iter().map(|(_, size)| size).collect();
        let numbers = if sizes.len() > 1 { sizes[1..].iter().product() } else { declared.ty.shape.elements() };
        Latent { name: name.to_owned(), numbers }
    }

    /// A function of the seed and the name alone.
    fn drawn(&self, seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 0, &self.name);
        (0..self.numbers).map(|_| draws.normal() as f32).collect()
    }
}

impl Coder {
    /// Prepares the tasks of codes for the task called `fed`.
    ///
    /// # Errors
    /// There is no such task, nothing is drawn, or codes and means are not alike.
    pub fn new(
        context: &Context<'_>,
        fed: &str,
        settings: &CodeSettings,
        state: &mut State,
    ) -> Result<Coder, TaskError> {
        let task = known(context, fed)?;
        let of_codes = settings.codes.as_ref().map(|codes| Ok::<_, TaskError>((codes, known(context, codes)?)));
        let of_codes = of_codes.transpose()?;
        let (mut for_codes, mut drawn) = (Vec::new(), Vec::new());
        let wanted = settings.latents.clone().unwrap_or_else(|| vec![LATENT.to_owned()]);
        for name in &wanted {
            let found = of_codes.and_then(|(_, task)| task.program.inputs.get(name));
            match (found, task.program.inputs.get(name)) {
                (Some(declared), _) => for_codes.push(Latent::new(name, declared)),
                (None, Some(declared)) => drawn.push(Latent::new(name, declared)),
                (None, None) if settings.latents.is_none() => {}
                (None, None) => return Err(no_latent(name, fed, task, of_codes)),
            }
        }
        if of_codes.is_none() && drawn.is_empty() {
            return Err(no_latent(LATENT, fed, task, None));
        }
        let codes = match of_codes {
            None => None,
            Some((name, _)) => {
                let given: BTreeSet<String> = for_codes.iter().map(|latent| latent.name.clone()).collect();
                let mut overrides = context.overrides.clone();
                for latent in &given {
                    overrides.sets.extend(one_picture(context, name, latent, &given)?.sets);
                }
                Some((Prepared::new(context, name, &overrides, &given)?, for_codes))
            }
        };
        let mut coder = Coder { codes, drawn, mean: Codes::new(), psi: settings.psi };
        if let (Some(name), true) = (&settings.mean, settings.psi != 1.0) {
            let mut program = Prepared::new(context, name, context.overrides, &BTreeSet::new())?;
            let found = program.run(&IndexMap::new(), 0, state)?;
            coder.mean = found
                .into_iter()
                .map(|(name, buffer)| Ok((name.clone(), numbers(&program, &name, &buffer)?)))
                .collect::<Result<_, TaskError>>()?;
            coder.check_means(&program)?;
        }
        Ok(coder)
    }

    /// Means are as long as what they are means of, and there is one at least.
    fn check_means(&self, means: &Prepared) -> Result<(), TaskError> {
        let outputs = self.codes.iter().flat_map(|(program, _)| &program.program().outputs);
        let codes = outputs.map(|(name, shape)| (name.as_str(), shape.elements()));
        let lengths: IndexMap<&str, usize> =
            codes.chain(self.drawn.iter().map(|latent| (latent.name.as_str(), latent.numbers))).collect();
        let mut alike = 0;
        for (name, mean) in &self.mean {
            match lengths.get(name.as_str()) {
                Some(length) if *length == mean.len() => alike += 1,
                Some(length) => {
                    let problem =
                        format!("its `{name}` has {} numbers, and the code of an image has {length}", mean.len());
                    return Err(means.unsuitable(problem));
                }
                None => {}
            }
        }
        match alike {
            0 => {
                let names = lengths.keys().copied().collect::<Vec<_>>().join("`, `");
                Err(means.unsuitable(format!("none of its outputs is a mean of `{names}`")))
            }
            _ => Ok(()),
        }
    }

    /// The truncated codes of a seed.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn codes(&mut self, seed: u64, state: &mut State) -> Result<Codes, TaskError> {
        let mut codes: Codes = self.drawn.iter().map(|latent| (latent.name.clone(), latent.drawn(seed))).collect();
        if let Some((program, latents)) = &mut self.codes {
            let mut inputs = IndexMap::new();
            for latent in latents {
                inputs.insert(
                    latent.name.clone(),
                    program.value(&latent.name, &latent.drawn(seed), "drawn for an image")?,
                );
            }
            // What the program itself draws differs from seed to seed, too.
            let found = program.run_with(&inputs, RandomKey { seed, step: 0 }, state)?;
            for (name, buffer) in found {
                let numbers = numbers(program, &name, &buffer)?;
                codes.insert(name, numbers);
            }
        }
        for (name, code) in &mut codes {
            let Some(mean) = self.mean.get(name) else { continue };
            let truncated = |(code, mean): (&mut f32, &f32)| {
                *code = (f64::from(*mean) + self.psi * (f64::from(*code) - f64::from(*mean))) as f32;
            };
            code.iter_mut().zip(mean).for_each(truncated);
        }
        Ok(codes)
    }
}

/// The numbers of an output.
fn numbers(program: &Prepared, name: &str, buffer: &Buffer) -> Result<Vec<f32>, TaskError> {
    match buffer.ty().dtype {
        DType::F32 => Ok(buffer.as_f32().to_vec()),
        _ => Err(program.unsuitable(format!("its output `{name}` is {}, which is no code", buffer.ty()))),
    }
}

fn no_latent(name: &str, fed: &str, task: &Task, codes: Option<(&String, &Task)>) -> TaskError {
    let (asked, task) = codes.map_or((fed, task), |(name, task)| (name.as_str(), task));
    let help = crate::names::suggestion(name, task.program.inputs.keys().map(String::as_str));
    TaskError::Unsuitable(format!("the task `{asked}` has no input `{name}` to be drawn by seed: {help}"))
}

#[cfg(test)]
mod tests {
    use super::Latent;

    #[test]
    fn what_is_drawn_is_normal_and_belongs_to_seed_and_name() {
        let latent = |name: &str, numbers| Latent { name: name.into(), numbers };
        let drawn = latent("z", 4096).drawn(3);
        let mean = |values: &[f32]| values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
        let squares: Vec<f32> = drawn.iter().map(|x| x * x).collect();
        assert!(mean(&drawn).abs() < 0.05 && (mean(&squares) - 1.0).abs() < 0.08);
        assert_eq!(latent("z", 16).drawn(3), drawn[..16]);
        assert_ne!(latent("z", 16).drawn(4), drawn[..16]);
        assert_ne!(latent("identity", 16).drawn(3), drawn[..16]);
    }
}
