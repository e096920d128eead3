//! The structures of a spec: one table that the reader checks files against, that editors are given
//! and that the language reference is tested against.

use super::elaborate::builtin::{BUILTINS, scalar_functions};
use serde_json::{Map, Value, json};

/// A structure that specs are made of.
pub(crate) struct Structure {
    pub name: &'static str,
    pub about: &'static str,
    pub fields: &'static [Field],
}

/// A field of a structure.
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub about: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Words for people.
    Text,
    /// A name of something else in the spec, or a path of a file.
    Name,
    /// A whole number or an expression of sizes: `64`, `"hidden / 2"`.
    Size,
    /// A number or an expression of sizes and constants.
    Number,
    /// `true`, `false` or an expression.
    Switch,
    /// Any of the last three.
    Setting,
    /// An expression over tensors.
    Expression,
    /// Axes in brackets: `"[ray, sample: coarse]"`.
    Axes,
    /// Function definitions.
    Functions,
    /// Statements.
    Statements,
    /// A stored value: `"[to, from] ~ uniform(± 1 / sqrt(from))"`, `Parameter(…)` or `Buffer(…)`.
    Stored,
    /// A module with its arguments, `Stack(…)`, `Optional(…)` or `Named(…)`.
    Layer,
    /// A number or one of the schedules.
    Schedule,
    /// A structure that the runtime knows, with any options.
    Call,
    /// One of these structures.
    OneOf(&'static [&'static str]),
    List(&'static Kind),
    Map(&'static Kind),
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: true, about }
}

const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: false, about }
}

use Kind::*;

const USES: Field = optional(
    "uses",
    List(&Name),
    "Libraries to take functions, modules, sizes and constants from, as paths relative to this file.",
);
const SIZES: Field = optional(
    "sizes",
    Map(&Size),
    "Whole numbers by name, the sizes of axes among them; `--set` and presets replace them.",
);
const CONSTANTS: Field =
    optional("constants", Map(&Setting), "Numbers and switches by name; `--set` and presets replace them.");
const FUNCTIONS: Field = optional("functions", Functions, "Functions, each written for one element.");
const MODULES: Field = optional("modules", Map(&OneOf(&["Module"])), "Kinds of network, by name.");
const INPUTS: Field = optional("inputs", Map(&OneOf(&["Input"])), "What is given at run time.");
const OUTPUTS: Field = required("outputs", Map(&Axes), "What comes out, with its axes in the order of files.");
const EQUATIONS: Field = required("equations", Statements, "The statements that compute the outputs.");
const START: Field = required("start", Number, "The value at step 0.");
const END: Field = required("end", Number, "The value from `steps` on.");
const FACTOR: Field = required("factor", Number, "What the value is multiplied by.");
const MILESTONES: Field = required("at", List(&Size), "The milestones, in steps.");
const STEPS: Field = required("steps", Number, "Steps that the change takes.");
const DECAY: Field = optional("weight_decay", Number, "Weight decay; 0 unless given.");
const BETAS: Field =
    optional("betas", List(&Number), "Decay of the two moments, as a tuple; (0.9, 0.999) unless given.");
const EPSILON: Field = optional("epsilon", Number, "Added to the root of the second moment; 1e-8 unless given.");
const STORED: &[Field] = &[
    required(
        "value",
        Stored,
        "Axes in storage order and how it starts: `\"[to, from] ~ normal(0, 0.02)\"`, `\"[to] = 0\"`.",
    ),
    optional("name", Text, "Its official name, where that differs from the name that equations use."),
    optional("when", Switch, "Whether there is such a value at all."),
];

/// Every structure of the language.
pub(crate) const STRUCTURES: &[Structure] = &[
    Structure {
        name: "System",
        about: "A whole method: networks, losses, training, data and tasks.",
        fields: &[
            required("name", Text, "The system's name."),
            required("about", Text, "One or two sentences and the source."),
            USES,
            SIZES,
            CONSTANTS,
            optional(
                "presets",
                Map(&Map(&Setting)),
                "Named sets of other sizes and constants, chosen with `--preset`.",
            ),
            FUNCTIONS,
            MODULES,
            optional("models", Map(&OneOf(&["Model"])), "The networks, each with parameters of its own."),
            optional(
                "schedules",
                Map(&Schedule),
                "Numbers that change with the training step; equations read them by name.",
            ),
            optional("losses", Map(&OneOf(&["Loss"])), "What training descends."),
            optional("train", OneOf(&["Train"]), "The training procedure."),
            optional("data", Map(&Call), "Where batches come from."),
            optional("tasks", Map(&OneOf(&["Task"])), "Named inference programs."),
        ],
    },
    Structure {
        name: "Library",
        about: "What systems share.",
        fields: &[required("about", Text, "One or two sentences."), USES, SIZES, CONSTANTS, FUNCTIONS, MODULES],
    },
    Structure {
        name: "Module",
        about: "A kind of network: what it stores and what it computes for one element.",
        fields: &[
            optional("about", Text, "One or two sentences."),
            optional("axes", List(&Name), "Axes of its own, that stand for axes of whoever uses the module."),
            optional(
                "options",
                Map(&Setting),
                "Numbers and switches that the user of the module may choose, with what holds otherwise.",
            ),
            optional("parameters", Map(&Stored), "Stored values, by the names that equations use."),
            optional("layers", Map(&Layer), "Networks inside, by the names that equations use."),
            required("forward", Functions, "What it computes, as one function without a name."),
        ],
    },
    Structure { name: "Parameter", about: "A stored value that training changes.", fields: STORED },
    Structure { name: "Buffer", about: "A stored value that training leaves alone.", fields: STORED },
    Structure {
        name: "Stack",
        about: "Networks in a row, called by number: `blocks[i](x)`.",
        fields: &[
            required("count", Size, "How many."),
            required("layer", Layer, "The network at each level."),
            optional("index", Name, "The name by which `layer` and `name` know the level; `i` unless given."),
            optional(
                "name",
                Text,
                "The name of a level inside parameter names, where it is not the number: `\"{2 * i}\"`.",
            ),
        ],
    },
    Structure {
        name: "Optional",
        about: "A network that may be left out.",
        fields: &[required("when", Switch, "Whether it is there."), required("layer", Layer, "The network.")],
    },
    Structure {
        name: "Named",
        about: "A network whose parameters have another prefix than the name that equations use.",
        fields: &[
            required(
                "name",
                Text,
                "The official name; empty for none. Braces hold expressions of sizes: `\"network.{2 * i}\"`.",
            ),
            required("layer", Layer, "The network."),
        ],
    },
    Structure {
        name: "Model",
        about: "A network with parameters of its own.",
        fields: &[
            required("network", Layer, "The module and its arguments."),
            optional("prefix", Text, "What its parameters' names begin with; the model's name and a dot unless given."),
            optional("frozen", Switch, "Whether it is never trained."),
            optional(
                "given",
                Switch,
                "Whether its values must come from a checkpoint: training does not begin with untrained ones.",
            ),
            optional(
                "starts_from",
                Name,
                "Another model, whose values stand for those of the same names that no checkpoint has.",
            ),
            optional("rename", Map(&Text), "What stands for what in the names of official checkpoints."),
        ],
    },
    Structure {
        name: "Loss",
        about: "An objective: a program whose output `loss` training descends.",
        fields: &[required("about", Text, "One or two sentences."), INPUTS, OUTPUTS, EQUATIONS],
    },
    Structure {
        name: "Task",
        about: "An inference program.",
        fields: &[
            required("about", Text, "One or two sentences."),
            optional("like", Name, "Another task, whose inputs, outputs and equations it shares."),
            INPUTS,
            optional("outputs", Map(&Axes), "What comes out, unless that is said by `like`."),
            optional(
                "equations",
                Statements,
                "The statements that compute the outputs, unless that is said by `like`.",
            ),
            optional("driver", Call, "What feeds it when it is not fed tensors."),
        ],
    },
    Structure {
        name: "Input",
        about: "A value given at run time.",
        fields: &[
            required("axes", Axes, "Its axes, in the order of files."),
            required("about", Text, "One sentence."),
            optional("type", Name, "`f32`, `i32` or `bool`; `f32` unless given."),
            optional("default", Expression, "Its value when none is given."),
            optional("optional", Switch, "Whether equations do without it: they ask `given(name)`."),
            optional("when", Switch, "Whether there is such an input at all."),
        ],
    },
    Structure {
        name: "Train",
        about: "The training procedure.",
        fields: &[
            required("rounds", Size, "Rounds to train for unless told otherwise."),
            required("steps", Map(&OneOf(&["Update"])), "What a round does, in order."),
            optional("reports", List(&OneOf(&["Report"])), "Tasks to run on the way."),
            optional("alarms", Map(&OneOf(&["Alarm"])), "What a run notices by itself, by name."),
        ],
    },
    Structure {
        name: "Update",
        about: "One update of some parameters by the gradient of one loss.",
        fields: &[
            required("loss", Name, "The loss it descends."),
            required("optimiser", OneOf(&["Sgd", "Adam", "AdamW"]), "The update rule."),
            required("rate", Schedule, "The learning rate."),
            required("batch", Map(&Name), "Where each input of the loss comes from, as `source.field`."),
            optional(
                "parameters",
                List(&Name),
                "Models, or beginnings of parameter names; all that the loss depends on unless given.",
            ),
            optional("when", Switch, "Whether there is such a step at all."),
            optional("every", Size, "Run in every n-th round; 1 unless given."),
            optional("from", Size, "The first round that it runs in, counted from 0."),
            optional("until", Size, "The round from which on it does not run any more."),
            optional("accumulate", Size, "Batches whose gradients are averaged before an update; 1 unless given."),
            optional("clip", OneOf(&["Norm", "Value"]), "Bound on the gradient."),
            optional("ema", Schedule, "Decay of a moving average of the parameters."),
            optional(
                "factors",
                Map(&Number),
                "What the rate is multiplied by for some parameters: by model, or by beginnings of parameter names.",
            ),
            optional("sizes", Map(&Setting), "Sizes and constants that the loss has in this step, where they differ."),
        ],
    },
    Structure {
        name: "Report",
        about: "A task to run in the course of training.",
        fields: &[
            required("task", Name, "The task."),
            optional("when", Switch, "Whether it is run at all."),
            required("every", Size, "Run after every n-th round."),
            optional("options", Map(&Setting), "Options that override those of the task's driver."),
            optional("ema", Switch, "Whether moving averages stand for the parameters that have them."),
        ],
    },
    Structure {
        name: "Alarm",
        about: "A sign that training goes wrong, said once.",
        fields: &[
            required("measure", Name, "What is watched: a number that a step's loss gives, as `step.output`."),
            required("about", Text, "What it means, and what would help."),
            optional("below", Number, "It is raised when the mean is less than this."),
            optional("above", Number, "It is raised when the mean is more than this."),
            required("rounds", Size, "How many rounds the mean is taken over, the latest ones."),
            optional("when", Switch, "Whether it is watched at all."),
            optional("stop", Switch, "Whether the run writes a checkpoint and ends."),
        ],
    },
    Structure {
        name: "Sgd",
        about: "Gradient descent.",
        fields: &[
            optional("momentum", Number, "Decay of the velocity; 0 unless given."),
            optional("nesterov", Switch, "Whether to look ahead."),
            DECAY,
        ],
    },
    Structure { name: "Adam", about: "Kingma & Ba 2015.", fields: &[BETAS, EPSILON, DECAY] },
    Structure { name: "AdamW", about: "Loshchilov & Hutter 2019.", fields: &[BETAS, EPSILON, DECAY] },
    Structure {
        name: "Constant",
        about: "The same value at every step.",
        fields: &[required("value", Number, "The value.")],
    },
    Structure { name: "Exponential", about: "start · factor^(step / steps).", fields: &[START, FACTOR, STEPS] },
    Structure {
        name: "Step",
        about: "Multiplied by `factor` at each milestone.",
        fields: &[START, FACTOR, MILESTONES],
    },
    Structure {
        name: "Pieces",
        about: "One value after another: the first before the first milestone, and so on.",
        fields: &[required("values", List(&Number), "The values, one more than there are milestones."), MILESTONES],
    },
    Structure { name: "Cosine", about: "Along half a cosine from `start` to `end`.", fields: &[START, END, STEPS] },
    Structure { name: "Linear", about: "In a straight line from `start` to `end`.", fields: &[START, END, STEPS] },
    Structure {
        name: "WarmUp",
        about: "Another schedule, scaled up from nothing over the first steps.",
        fields: &[STEPS, required("then", Schedule, "The schedule that is warmed up to.")],
    },
    Structure {
        name: "Restart",
        about: "Another schedule, which begins again at each milestone.",
        fields: &[MILESTONES, required("then", Schedule, "The schedule that begins again.")],
    },
    Structure {
        name: "Averaging",
        about: "(1 + step) / (10 + step), up to a limit: the decay of an average that soon forgets how it began.",
        fields: &[required("limit", Number, "The limit.")],
    },
];

/// The schedules.
pub(crate) const SCHEDULES: &[&str] =
    &["Constant", "Exponential", "Step", "Pieces", "Cosine", "Linear", "WarmUp", "Restart", "Averaging"];

/// The row of the structure called `name`.
pub(crate) fn structure(name: &str) -> &'static Structure {
    STRUCTURES.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("there is no structure `{name}`"))
}

impl Kind {
    /// What a value of this kind is called in messages.
    pub fn describe(self) -> String {
        match self {
            Text => "a text".into(),
            Name => "a name in quotes".into(),
            Size => "a whole number or an expression in quotes".into(),
            Number => "a number or an expression in quotes".into(),
            Switch => "`true`, `false` or an expression in quotes".into(),
            Setting => "a number, a switch or an expression in quotes".into(),
            Expression | Functions | Statements => "equations in quotes".into(),
            Axes => "axes in brackets, in quotes: \"[ray, xyz]\"".into(),
            Stored => "a stored value such as \"[to] = 0\"".into(),
            Layer => "a module with its arguments".into(),
            Schedule => "a number or a schedule".into(),
            Call => "a name with options in parentheses".into(),
            OneOf(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}(…)`")).collect();
                names.join(" or ")
            }
            List(_) => "a list".into(),
            Map(_) => "a map from names in quotes".into(),
        }
    }

    fn json(self) -> Value {
        let named = |kind: &str| json!({ "kind": kind });
        match self {
            Text => named("text"),
            Name => named("name"),
            Size => named("size"),
            Number => named("number"),
            Switch => named("switch"),
            Setting => named("setting"),
            Expression => named("expression"),
            Axes => named("axes"),
            Functions => named("functions"),
            Statements => named("statements"),
            Stored => named("stored"),
            Layer => named("layer"),
            Schedule => json!({ "kind": "schedule", "structures": SCHEDULES }),
            Call => named("call"),
            OneOf(names) => json!({ "kind": "structure", "structures": names }),
            List(of) => json!({ "kind": "list", "of": of.json() }),
            Map(of) => json!({ "kind": "map", "of": of.json() }),
        }
    }
}

/// The language for editors, as JSON: under `structures` each structure by name with `about` and
/// `fields`, each of those with `about`, `required` and what it holds; under `functions` each built-in
/// function by name with `about` and `usage`.
pub fn schema() -> Value {
    let structures: Map<String, Value> = STRUCTURES
        .iter()
        .map(|row| {
            let fields: Map<String, Value> = row
                .fields
                .iter()
                .map(|field| {
                    let mut value = field.kind.json();
                    value["about"] = field.about.into();
                    value["required"] = field.required.into();
                    (field.name.to_owned(), value)
                })
                .collect();
            (row.name.to_owned(), json!({ "about": row.about, "fields": fields }))
        })
        .collect();
    let functions: Map<String, Value> = BUILTINS
        .iter()
        .map(|builtin| (builtin.name.to_owned(), json!({ "about": builtin.about, "usage": builtin.usage })))
        .chain(scalar_functions().map(|op| {
            let usage = format!("{}({})", op.name(), ["x", "y", "z"][..op.arity()].join(", "));
            (op.name().to_owned(), json!({ "about": "Element by element.", "usage": usage }))
        }))
        .collect();
    json!({ "structures": structures, "functions": functions })
}
