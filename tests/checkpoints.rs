//! Checkpoints as the libraries that write them write them: see `tests/checkpoints/README.md`.

use proptest::prelude::*;
use std::path::PathBuf;
use visage_runtime::array::{Array, ElementType};
use visage_runtime::checkpoint::{Checkpoint, Problem, SOLE, Scalar, read_tensor};

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn read(name: &str) -> Checkpoint {
    Checkpoint::read(&sample(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// `start`, `start + 0.25`, ... as the samples hold it.
fn ramp(shape: &[usize], start: f32) -> Array {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| start + 0.25 * i as f32).collect();
    Array::from_slice(shape, &values).unwrap()
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.tensors.keys().map(String::as_str).collect()
}

#[test]
fn nested_dictionaries_become_dotted_names_in_both_layouts_of_torch() {
    for file in ["nerf_zip.tar", "nerf_legacy.tar"] {
        let checkpoint = read(file);
        assert_eq!(
            names(&checkpoint),
            [
                "network_fn_state_dict.pts_linears.0.weight",
                "network_fn_state_dict.pts_linears.0.bias",
                "network_fine_state_dict.pts_linears.0.weight",
                "network_fine_state_dict.pts_linears.0.bias",
                "optimizer_state_dict.state.0.exp_avg",
                "optimizer_state_dict.state.0.exp_avg_sq",
            ]
        );
        assert_eq!(checkpoint.tensors["network_fn_state_dict.pts_linears.0.weight"], ramp(&[2, 3], 0.0));
        assert_eq!(checkpoint.tensors["network_fine_state_dict.pts_linears.0.bias"], ramp(&[2], 9.0));
        assert_eq!(checkpoint.scalars["global_step"], Scalar::Integer(200));
        assert_eq!(checkpoint.scalars["optimizer_state_dict.param_groups.0.lr"], Scalar::Float(5e-4));
        assert_eq!(checkpoint.scalars["optimizer_state_dict.param_groups.0.betas.1"], Scalar::Float(0.999));
        assert_eq!(checkpoint.scalars["optimizer_state_dict.state.0.step"], Scalar::Integer(3));
    }
}

#[test]
fn views_are_materialised() {
    for file in ["views_zip.pth", "views_legacy.pth"] {
        let checkpoint = read(file);
        let expect = |name: &str, shape: &[usize], values: &[f32]| {
            assert_eq!(checkpoint.tensors[name], Array::from_slice(shape, values).unwrap(), "{file}: {name}");
        };
        let whole = ramp(&[3, 4], 0.0);
        assert_eq!(checkpoint.tensors["whole"], whole);
        assert_eq!(checkpoint.tensors["tied.0"], whole);
        assert_eq!(checkpoint.tensors["tied.1"], whole);
        let transposed: Vec<f32> = (0..12).map(|i| 0.25 * (i % 3 * 4 + i / 3) as f32).collect();
        expect("transposed", &[4, 3], &transposed);
        expect("row", &[4], &[1.0, 1.25, 1.5, 1.75]);
        expect("column", &[3], &[0.5, 1.5, 2.5]);
        expect("expanded", &[2, 3], &[1.5; 6]);
        expect("empty", &[0, 5], &[]);
        expect("scalar", &[], &[2.5]);
    }
}

#[test]
fn every_element_type() {
    for file in ["types_zip.pth", "types.safetensors"] {
        let checkpoint = read(file);
        for (name, element) in [
            ("float64", ElementType::F64),
            ("float32", ElementType::F32),
            ("float16", ElementType::F16),
            ("bfloat16", ElementType::BF16),
            ("int64", ElementType::I64),
            ("int32", ElementType::I32),
            ("int16", ElementType::I16),
            ("int8", ElementType::I8),
            ("uint8", ElementType::U8),
        ] {
            let array = &checkpoint.tensors[name];
            assert_eq!(array.element_type(), element, "{file}: {name}");
            assert_eq!(array.to_f32(), [0.0, 1.0, 2.0, 100.0], "{file}: {name}");
        }
        assert_eq!(checkpoint.tensors["bool"].to_bool().unwrap(), [true, false, true]);
        assert_eq!(checkpoint.tensors["uint16"], Array::from_slice([2], &[0i32, 65535]).unwrap());
        assert_eq!(checkpoint.tensors["uint32"], Array::from_slice([2], &[0i64, 4294967295]).unwrap());
    }
    let checkpoint = read("types_zip.pth");
    assert_eq!(checkpoint.tensors["numpy"], Array::from_slice([2, 3], &[0f64, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
    assert_eq!(checkpoint.scalars["numpy_scalar"], Scalar::Float(0.5));
}

#[test]
fn a_whole_module_is_named_as_its_state_dict() {
    for file in ["module_zip.pth", "module_legacy.pth"] {
        let checkpoint = read(file);
        // The buffer `scratch` is not persistent, and so is not part of a state dict.
        let expected = ["siren.scale", "siren.network.0.weight", "siren.network.0.bias", "siren.network.1.weight"];
        assert_eq!(names(&checkpoint), expected, "{file}");
        assert_eq!(checkpoint.tensors["siren.network.0.weight"], ramp(&[2, 3], 0.0));
        assert_eq!(checkpoint.tensors["siren.network.1.weight"], ramp(&[2, 2], 2.0));
        assert_eq!(checkpoint.tensors["siren.scale"], ramp(&[1], 0.25));
        assert_eq!(checkpoint.scalars["step"], Scalar::Integer(60000));
        assert_eq!(checkpoint.scalars["siren.network.0.in_features"], Scalar::Integer(3));
    }
}

#[test]
fn an_average_keeps_its_list() {
    let checkpoint = read("average.pth");
    assert_eq!(names(&checkpoint), ["shadow_params.0", "shadow_params.1", "shadow_params.2"]);
    assert_eq!(checkpoint.tensors["shadow_params.1"], ramp(&[2], 1.0));
    assert_eq!(checkpoint.scalars["decay"], Scalar::Float(0.999));
    assert_eq!(checkpoint.scalars["num_updates"], Scalar::Integer(7));
}

#[test]
fn numpy_files() {
    let weights = read("keras_weights.npy");
    assert_eq!(names(&weights), ["0", "1"]);
    assert_eq!(weights.tensors["0"], Array::from_slice([3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
    assert_eq!(weights.tensors["1"], Array::from_slice([2], &[0.5f32, 1.5]).unwrap());
    let fortran = Array::from_slice([2, 3], &[0i32, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(read_tensor(&sample("fortran.npy"), SOLE).unwrap(), fortran);
    assert_eq!(read("fortran.npy").into_sole_tensor().unwrap(), fortran);
    let arrays = read("arrays.npz");
    assert_eq!(arrays.tensors["poses"], Array::from_slice([2, 2], &[1f64, 0.0, 0.0, 1.0]).unwrap());
    assert_eq!(arrays.tensors["index"], Array::from_slice([2], &[1i32, 2]).unwrap());
    let zeros = Array::zeros(ElementType::F32, [8, 8]).unwrap();
    assert_eq!(read("compressed.npz").into_sole_tensor().unwrap(), zeros);
    let error = arrays.into_sole_tensor().unwrap_err();
    assert_eq!(error.to_string(), "one tensor was expected, but there are 2: `poses`, `index`");
}

#[test]
fn one_tensor_of_a_file() {
    let bias = read_tensor(&sample("field.safetensors"), "pts_linears.0.bias").unwrap();
    assert_eq!(bias, ramp(&[2], 1.0));
    assert_eq!(read("field.safetensors").metadata["step"], "200");
    let row = read_tensor(&sample("views_zip.pth"), "row").unwrap();
    assert_eq!(row, ramp(&[4], 1.0));
    for file in ["field.safetensors", "nerf_zip.tar"] {
        let error = read_tensor(&sample(file), "rgb_linear.weight").unwrap_err();
        assert!(matches!(error.problem(), Problem::Missing(_)));
        let message = error.to_string();
        assert!(message.contains(file), "{message}");
        assert!(message.contains("no tensor `rgb_linear.weight`; there are `"), "{message}");
    }
}

/// A damaged tensor must not keep the others from being read.
#[test]
fn one_tensor_is_read_without_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let mut checkpoint = Checkpoint::default();
    checkpoint.tensors.insert("damaged".into(), Array::from_slice([2], &[true, true]).unwrap());
    checkpoint.tensors.insert("sound".into(), ramp(&[3], 0.0));
    let mut bytes = checkpoint.to_safetensors().unwrap();
    *bytes.last_mut().unwrap() = 9;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read_tensor(&path, "sound").unwrap(), ramp(&[3], 0.0));
    let error = Checkpoint::read(&path).unwrap_err();
    assert_eq!(error.offset(), Some(bytes.len() as u64 - 2));
    assert!(error.to_string().contains("tensor `damaged`"), "{error}");
}

#[test]
fn other_libraries_read_what_is_written() {
    let mut checkpoint = read("types.safetensors");
    checkpoint.metadata.insert("step".into(), "200".into());
    let bytes = checkpoint.to_safetensors().unwrap();
    let parsed = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(parsed.len(), checkpoint.tensors.len());
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["step"], "200");
    assert!(header % 8 == 0, "tensors are aligned");
    for (name, array) in &checkpoint.tensors {
        let view = parsed.tensor(name).unwrap();
        assert_eq!((view.shape(), view.data()), (array.shape(), array.bytes()));
        let begin = metadata.info(name).unwrap().data_offsets.0;
        assert!(begin.is_multiple_of(array.element_type().size()), "{name} is aligned");
    }
}

#[test]
fn a_tensor_cannot_take_the_name_of_the_metadata() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.tensors.insert("__metadata__".into(), ramp(&[1], 0.0));
    assert!(checkpoint.to_safetensors().is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    assert!(checkpoint.write_safetensors(&path).unwrap_err().to_string().contains("weights.safetensors"));
    assert!(!path.exists());
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::read(&folder.path().join("weights.pth")).unwrap_err();
    assert!(matches!(error.problem(), Problem::Io(_)));
    assert!(error.to_string().contains("weights.pth: "), "{error}");
    assert!(Checkpoint::read(folder.path()).is_err());
}

fn any_array() -> impl Strategy<Value = Array> {
    let element = proptest::sample::select(vec![
        ElementType::F64,
        ElementType::F32,
        ElementType::F16,
        ElementType::BF16,
        ElementType::I64,
        ElementType::I32,
        ElementType::I16,
        ElementType::I8,
        ElementType::U8,
        ElementType::Bool,
    ]);
    (element, proptest::collection::vec(0usize..4, 0..4)).prop_flat_map(|(element, shape)| {
        let count = shape.iter().product::<usize>() * element.size();
        let byte = if element == ElementType::Bool { 0..=1u8 } else { 0..=255 };
        proptest::collection::vec(byte, count).prop_map(move |bytes| Array::new(element, shape.clone(), bytes).unwrap())
    })
}

proptest! {
    #[test]
    fn safetensors_come_back_to_the_bit(
        tensors in proptest::collection::btree_map("[a-z.0-9\"\\\\é]{0,12}", any_array(), 0..6),
        metadata in proptest::collection::btree_map("[a-z]{1,6}", ".{0,12}", 0..4),
    ) {
        let checkpoint = Checkpoint { tensors: tensors.into_iter().collect(), metadata, ..Checkpoint::default() };
        let bytes = checkpoint.to_safetensors().unwrap();
        let back = Checkpoint::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &checkpoint);
        prop_assert_eq!(checkpoint.to_safetensors().unwrap(), bytes, "writing is deterministic");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        checkpoint.write_safetensors(&path).unwrap();
        for (name, array) in &checkpoint.tensors {
            prop_assert_eq!(&read_tensor(&path, name).unwrap(), array);
        }
    }
}
