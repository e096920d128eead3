//! What the command says: its help, and its answers to mistakes.

use crate::support::{fails, root, succeeds, visage};

fn nerf() -> String {
    root().join("graphs/nerf").display().to_string()
}

fn tiny() -> String {
    root().join("tests/specs/tiny.ron").display().to_string()
}

/// The answer to a mistake, made where nothing is, with the repository's place left out.
#[track_caller]
fn mistake(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let message = fails(folder.path(), 2, arguments);
    message.replace(&root().display().to_string(), "…")
}

#[test]
fn help_teaches() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for command in ["", "check", "train", "run", "grad", "compile", "bench", "data", "completions"] {
        let arguments: Vec<&str> = if command.is_empty() { vec!["--help"] } else { vec![command, "--help"] };
        text.push_str(&format!("$ visage {}\n{}\n", arguments.join(" "), succeeds(folder.path(), &arguments)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn misspelt_names_are_answered_with_the_nearest() {
    for (arguments, answer) in [
        (vec!["run", &nerf(), "rendr", "--initial"], "did you mean `render`?"),
        (vec!["run", &nerf(), "render", "--initial", "--data", "x", "--set", "rays=3"], "did you mean `ray`?"),
        (vec!["grad", &nerf(), "photometri", "--initial", "--out", "x"], "did you mean `photometric`?"),
        (vec!["check", &nerf(), "--preset", "quik"], "did you mean `quick`?"),
        (vec!["train", &nerf(), "fitt"], "did you mean `fit`?"),
        (vec!["compile", &nerf(), "evalute"], "did you mean `evaluate`?"),
        (vec!["run", &tiny(), "colours", "--initial", "--opt", "frame=3"], "did you mean `frames`?"),
        (vec!["run", &tiny(), "colours", "--initial", "--opt", "path=orbt"], "did you mean `orbit`?"),
    ] {
        let message = mistake(&arguments);
        assert!(message.contains(answer), "{arguments:?}\n{message}");
    }
}

/// Where there is no such device, the answer says what is missing; what a target does not have is said, too.
#[test]
fn graphics_processors_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", &tiny(), "colours", "--device", "cuda", "--fused", "--repeat", "1"];
    let (code, _, message) = visage(folder.path(), &arguments);
    let answers = ["there is no CUDA on this machine", "there is no device", "is older than NVIDIA's Ampere"];
    assert!(code == 0 || answers.iter().any(|answer| message.contains(answer)), "{message}");
    for (arguments, answer) in [
        (vec!["compile", &nerf(), "rays", "--emit", "ptx"], "name it: `--target ptx:sm_80`"),
        (vec!["compile", &nerf(), "rays", "--emit", "clif", "--target", "ptx:sm_90"], "its code is `--emit ptx`"),
        (vec!["compile", &nerf(), "rays", "--precision", "tf32", "--emit", "plan"], "f32 or bf16, not in tf32"),
    ] {
        let message = mistake(&arguments);
        assert!(message.contains(answer), "{arguments:?}\n{message}");
    }
}

#[test]
fn files_that_are_missing_or_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str]| fails(folder.path(), 2, arguments);
    let given = ["run", &tiny(), "colours", "--initial", "--out", "out.safetensors"];
    let with = |more: &[&str]| given.iter().copied().chain(more.iter().copied()).map(str::to_owned).collect::<Vec<_>>();
    let check = |more: &[&str], answer: &str| {
        let arguments = with(more);
        let message = refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let message = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(message.contains(answer), "{message}");
    };
    let mut checkpoint = visage_runtime::checkpoint::Checkpoint::default();
    let array = visage_runtime::array::Array::from_slice([5, 4], &[0f32; 20]).unwrap();
    checkpoint.tensors.insert("four".into(), array.clone());
    checkpoint.tensors.insert("w.weight".into(), array);
    checkpoint.write_safetensors(&folder.path().join("x.safetensors")).unwrap();

    check(&["--in", "direction=nowhere.safetensors:a"], "nowhere.safetensors");
    check(&["--in", "direction=x.safetensors:fuor"], "did you mean `four`?");
    check(&["--in", "direction=x.safetensors"], "holds several tensors, and none is called `direction`");
    check(&["--in", "directoin=2"], "did you mean `direction`?");
    check(&["--in", "direction=x.safetensors:four", "--set", "xyz=3"], "it is [5, 4], where [ray=5, xyz=3] is needed");
    let message = refused(&["run", &tiny(), "colours", "--weights", "x.safetensors", "--data", "nowhere"]);
    assert!(message.contains("`bias`") || message.contains("`weight`"), "{message}");
    let message = refused(&["check", "nowhere.ron"]);
    assert!(message.contains("nowhere.ron"), "{message}");
    let message = refused(&["train", "--resume", "nowhere"]);
    assert!(message.contains("no training run"), "{message}");
    let message = refused(&["train", &tiny(), "--data", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
}

#[test]
fn a_spec_is_listed_for_people_and_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(succeeds(folder.path(), &["check", &tiny()]));
    let json: serde_json::Value =
        serde_json::from_str(&succeeds(folder.path(), &["check", &nerf(), "--json"])).unwrap();
    assert_eq!(json["models"]["coarse_field"]["parameters"], 595_844);
    assert_eq!(json["tasks"]["rays"]["inputs"][0]["axes"], serde_json::json!(["ray", "xyz"]));
    let schema = succeeds(folder.path(), &["check", "--schema"]);
    serde_json::from_str::<serde_json::Value>(&schema).unwrap();
    assert!(schema.contains("Named inference programs."));
}

#[test]
fn programs_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(succeeds(folder.path(), &["compile", &tiny(), "colours"]));
    let step = succeeds(folder.path(), &["compile", &tiny(), "fit"]);
    assert!(step.contains("parameter \"adam.mean.weight\"") && step.contains("input \"step.rate\""), "{step}");
}

#[test]
fn listings_of_code_name_what_is_called_and_are_the_same_in_every_process() {
    let folder = tempfile::tempdir().unwrap();
    for form in ["clif", "asm"] {
        let list = || succeeds(folder.path(), &["compile", &tiny(), "fit", "--emit", form]);
        let listing = list();
        assert!(listing.contains("%strip_") && listing.contains("%load_panel"), "{listing}");
        // Every name was found.
        assert!(!listing.contains("userextname") && !listing.contains("u1:"), "{listing}");
        assert!(listing == list(), "the {form} of two processes differs");
    }
}

#[test]
fn a_plan_tells_which_stages_stay_narrow() {
    let folder = tempfile::tempdir().unwrap();
    let plan = succeeds(folder.path(), &["compile", &nerf(), "rays", "--emit", "plan"]);
    let narrow: Vec<&str> = plan.lines().filter(|line| line.starts_with("at 128 bits: ")).collect();
    // Distances along rays are f64. Without wide vectors there is nothing to tell.
    let is_wide = visage_compiler::cpu::Maps::detect() == visage_compiler::cpu::Maps::Wide;
    assert_eq!(narrow.iter().any(|line| line.starts_with("at 128 bits: f64 in \"")), is_wide, "{narrow:?}");
}

#[test]
fn code_is_kept_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |cache: &str| -> (u64, u64) {
        let arguments = ["bench", &tiny(), "fit", "--fused", "--repeat", "1", "--json", "--code-cache", cache];
        let said: serde_json::Value = serde_json::from_str(&succeeds(folder.path(), &arguments)).unwrap();
        let figure = |name: &str| said["variants"][0][name].as_u64().unwrap();
        (figure("kernels_from_cache"), figure("kernels"))
    };
    let (cold, kernels) = bench("code");
    assert!(cold == 0 && kernels > 0);
    assert_eq!(bench("code"), (kernels, kernels));
    assert_eq!(bench("off"), (0, kernels));
    assert!(folder.path().join("code").is_dir() && !folder.path().join("off").exists());
    // In the user's folder, unless told otherwise.
    let caches = folder.path().join("caches");
    let arguments = ["bench", &tiny(), "fit", "--fused", "--repeat", "1"];
    let ended = crate::support::command(folder.path(), arguments).env("XDG_CACHE_HOME", &caches).output().unwrap();
    assert!(ended.status.success());
    assert_eq!(std::fs::read_dir(caches.join("visage/code")).unwrap().count() as u64, kernels);
}

#[test]
fn a_folder_for_code_that_cannot_be_used_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let arguments = ["bench", &tiny(), "fit", "--repeat", "1", "--code-cache", "taken/code"];
    let (code, out, err) = crate::support::visage(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("0 of "), "{out}");
    assert_eq!(err.matches("machine code is not kept in taken/code").count(), 1, "{err}");
}

#[test]
fn shells_complete() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(succeeds(folder.path(), &["completions", shell]).contains("visage"), "{shell}");
    }
}

#[test]
fn data_sets_are_made_converted_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let make = ["data", "generate", "head", "head", "--resolution", "16", "--train", "3", "--val", "1", "--test", "2"];
    assert!(succeeds(folder.path(), &make).contains("16 x 16 pixels"));
    succeeds(folder.path(), &["data", "convert", "head", "converted"]);
    let inspect = |folder_name: &str| -> serde_json::Value {
        serde_json::from_str(&succeeds(folder.path(), &["data", "inspect", folder_name, "--json"])).unwrap()
    };
    let (head, converted) = (inspect("head"), inspect("converted"));
    assert_eq!(head["views"], converted["views"]);
    assert_eq!(head["focal"], converted["focal"]);
    succeeds(folder.path(), &["data", "fetch", "head", "fetched"]);
    assert_eq!(inspect("fetched"), head);
    assert!(fails(folder.path(), 2, &["data", "fetch", "head", "fetched"]).contains("not empty"));
}
