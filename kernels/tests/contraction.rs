//! Every instruction set of this machine against plain loops: contraction, packing, transposes and copies.

use visage_kernels::{Isa, LANES, micro_kernels, strips};

/// Small deterministic values, exact in f32 and in sums of a few thousand products of two of them.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 31) as f32 / 8.0 - 2.0).collect()
}

#[test]
fn strips_are_balanced_and_cover_the_outputs() {
    for max in [1, 4, 6, 8, 14] {
        for n in 0..300 {
            let cut: Vec<_> = strips(n, max).collect();
            let mut next = 0;
            for &(start, height) in &cut {
                assert_eq!(start, next);
                assert!((1..=max).contains(&height));
                next += height;
            }
            assert_eq!(next, n);
            assert_eq!(cut.len(), n.div_ceil(max));
            let heights = cut.iter().map(|strip| strip.1);
            assert!(heights.clone().max().unwrap_or(0) - heights.min().unwrap_or(0) <= 1);
        }
    }
    let heights: Vec<_> = strips(256, 14).map(|strip| strip.1).collect();
    assert_eq!(heights, [[14; 9].as_slice(), &[13; 10]].concat());
}

#[test]
fn every_strip_height_equals_plain_loops() {
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        assert_eq!(kernels.strips.len(), kernels.max_strip);
        for height in 1..=kernels.max_strip {
            for k in [0, 1, 2, 3, 4, 5, 6, 7, 8, 31, 64, 257] {
                for (x_stride, c_stride, accumulate) in
                    [(32, 32, false), (32, 32, true), (48, 37, false), (33, 64, true)]
                {
                    let w = values(k * height, 1);
                    let x = values(k * x_stride + LANES, 2);
                    let before = values(height * c_stride + LANES, 3);
                    let mut c = before.clone();
                    // SAFETY: the slices hold every element that the sizes and strides name.
                    unsafe {
                        let accumulate = usize::from(accumulate);
                        kernels.strip(height)(
                            k,
                            w.as_ptr(),
                            x.as_ptr(),
                            x_stride,
                            c.as_mut_ptr(),
                            c_stride,
                            accumulate,
                        );
                    }
                    let mut expected = before.clone();
                    for n in 0..height {
                        for row in 0..LANES {
                            let sum: f32 = (0..k).map(|k| w[k * height + n] * x[k * x_stride + row]).sum();
                            let old = if accumulate { before[n * c_stride + row] } else { 0.0 };
                            expected[n * c_stride + row] = old + sum;
                        }
                    }
                    assert_eq!(
                        c, expected,
                        "{isa}: strip {height}, k {k}, strides {x_stride} {c_stride}, {accumulate}"
                    );
                }
            }
        }
    }
}

#[test]
fn instruction_sets_agree_within_rounding() {
    let (n, k) = (45, 300);
    let unit = |seed: usize| move |i: usize| (((i + seed) as f32) * 0.618_034).fract() - 0.5;
    let w: Vec<f32> = (0..n * k).map(unit(3)).collect();
    let x: Vec<f32> = (0..k * LANES).map(unit(8)).collect();
    let run = |isa| {
        let kernels = micro_kernels(isa);
        let mut c = vec![0.0; n * LANES];
        kernels.contract(n, k, &kernels.packed_strips(n, k, &w, k, 1), &x, LANES, &mut c, LANES, false);
        c
    };
    let reference = run(Isa::Portable);
    for isa in Isa::available() {
        for (got, expected) in run(isa).iter().zip(&reference) {
            assert!((got - expected).abs() < 1e-5, "{isa}: {got} instead of {expected}");
        }
    }
}

#[test]
fn steps_may_be_split_by_accumulation() {
    let (n, k) = (20, 50);
    let (w, x) = (values(n * k, 1), values(k * LANES, 2));
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        let mut whole = vec![0.0; n * LANES];
        kernels.contract(n, k, &kernels.packed_strips(n, k, &w, k, 1), &x, LANES, &mut whole, LANES, false);
        let mut split = vec![f32::NAN; n * LANES];
        for (from, to) in [(0, 17), (17, 50)] {
            let packed = kernels.packed_strips(n, to - from, &w[from..], k, 1);
            let x = &x[from * LANES..];
            kernels.contract(n, to - from, &packed, x, LANES, &mut split, LANES, from > 0);
        }
        assert_eq!(whole, split, "{isa}");
    }
}

#[test]
fn strips_are_packed_from_any_strides() {
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        for n in [1, 2, 5, 13, 14, 15, 31, 47] {
            for k in [1, 3, 8, 16, 33] {
                for (n_stride, k_stride) in [(k, 1), (k + 5, 1), (1, n), (1, n + 3), (2, 2 * n + 1)] {
                    let w = values((n - 1) * n_stride + (k - 1) * k_stride + 1, n + k);
                    let packed = kernels.packed_strips(n, k, &w, n_stride, k_stride);
                    let mut expected = Vec::new();
                    for (start, height) in strips(n, kernels.max_strip) {
                        for step in 0..k {
                            expected.extend((start..start + height).map(|n| w[n * n_stride + step * k_stride]));
                        }
                    }
                    assert_eq!(packed, expected, "{isa}: {n} x {k}, strides {n_stride} {k_stride}");
                }
            }
        }
    }
}

#[test]
fn panels_transpose_and_return() {
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        for features in [1, 3, 8, 15, 16, 17, 32, 33, 70, 96] {
            let stride = LANES + features % 3;
            let panel = values(features * stride + LANES, features);
            let columns = kernels.transposed_panel(features, &panel, stride);
            for (index, &value) in columns.iter().enumerate() {
                let (column, row, lane) = (index / (LANES * LANES), index / LANES % LANES, index % LANES);
                let feature = column * LANES + lane;
                let expected = if feature < features { panel[feature * stride + row] } else { 0.0 };
                assert_eq!(value, expected, "{isa}: {features} features, feature {feature}, row {row}");
            }
            let back = kernels.untransposed_panel(features, &columns);
            for feature in 0..features {
                assert_eq!(back[feature * LANES..][..LANES], panel[feature * stride..][..LANES], "{isa}");
            }
        }
    }
}

#[test]
fn rows_stack_as_their_panel_transposes() {
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        for (rows, features) in [(1, 1), (5, 3), (32, 8), (7, 15), (32, 17), (19, 32), (32, 70), (32, 96)] {
            let stride = features + rows % 3;
            let source = values(rows * stride, features);
            let columns = kernels.stacked_rows(rows, features, &source, stride);
            for (index, &value) in columns.iter().enumerate() {
                let (column, row, lane) = (index / (LANES * rows), index / LANES % rows, index % LANES);
                let feature = column * LANES + lane;
                let expected = if feature < features { source[row * stride + feature] } else { 0.0 };
                assert_eq!(value, expected, "{isa}: {rows} rows of {features}, row {row}, feature {feature}");
            }
        }
    }
}

#[test]
fn rows_load_into_panels_and_return() {
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        for rows in [0, 1, 7, 8, 15, 16, 17, 31, 32] {
            for features in [0, 1, 3, 8, 16, 19, 63] {
                let stride = features.max(1) + rows % 4;
                // Exactly the elements named: a kernel that reads past them is found by a sanitizer.
                let source = values(if rows * features == 0 { 0 } else { (rows - 1) * stride + features }, rows);
                let mut panel = vec![f32::NAN; features * LANES];
                kernels.load_rows(rows, features, &source, stride, &mut panel, LANES);
                for (index, &value) in panel.iter().enumerate() {
                    let (feature, row) = (index / LANES, index % LANES);
                    let expected = if row < rows { source[row * stride + feature] } else { 0.0 };
                    assert_eq!(value, expected, "{isa}: {rows} x {features}");
                }
                let untouched = 77.0;
                let mut target = vec![untouched; rows * stride + features];
                kernels.store_rows(rows, features, &panel, LANES, &mut target, stride);
                for (index, &value) in target.iter().enumerate() {
                    let (row, feature) = (index / stride, index % stride);
                    let inside = row < rows && feature < features;
                    let expected = if inside { source[row * stride + feature] } else { untouched };
                    assert_eq!(value, expected, "{isa}: {rows} x {features}");
                }
            }
        }
    }
}

#[test]
fn weight_gradients_contract_over_rows() {
    // dW[n][k] = sum over the rows of three panels of G[n][row] · X[k][row].
    let (n, k, panels) = (17, 40, 3);
    let rows = panels * LANES;
    let gradients: Vec<_> = (0..panels).map(|panel| values(n * LANES, panel)).collect();
    let inputs: Vec<_> = (0..panels).map(|panel| values(k * LANES, panel + 9)).collect();
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        let columns = k.div_ceil(LANES);
        let mut packed = vec![0.0; n * rows];
        let mut x = vec![0.0; columns * rows * LANES];
        for panel in 0..panels {
            kernels.pack_strips_at(n, LANES, &gradients[panel], LANES, 1, &mut packed, rows, panel * LANES);
            let to = x[panel * LANES * LANES..].as_mut_ptr();
            // SAFETY: `x` holds `columns` column panels of `rows` rows.
            unsafe { (kernels.transpose_panel)(k, inputs[panel].as_ptr(), LANES, to, rows * LANES) }
        }
        for column in 0..columns {
            let mut tile = vec![0.0; n * LANES];
            kernels.contract(n, rows, &packed, &x[column * rows * LANES..], LANES, &mut tile, LANES, false);
            for (index, &value) in tile.iter().enumerate() {
                let (out, feature) = (index / LANES, column * LANES + index % LANES);
                let expected: f32 = if feature < k {
                    let dot = |panel: usize| -> f32 {
                        let (g, x) = (&gradients[panel][out * LANES..], &inputs[panel][feature * LANES..]);
                        (0..LANES).map(|row| g[row] * x[row]).sum()
                    };
                    (0..panels).map(dot).sum()
                } else {
                    0.0
                };
                assert_eq!(value, expected, "{isa}: output {out}, feature {feature}");
            }
        }
    }
}

#[test]
fn streaming_copies_copy_at_any_alignment() {
    for isa in Isa::available() {
        let kernels = micro_kernels(isa);
        for offset in 0..17 {
            for count in [0, 1, 5, 15, 16, 17, 63, 64, 200] {
                let from = values(count, offset);
                let mut to = vec![0.5; offset + count + 16];
                kernels.copy_past_caches(&from, &mut to[offset..offset + count]);
                assert_eq!(to[offset..offset + count], from, "{isa}");
                assert!(to[..offset].iter().chain(&to[offset + count..]).all(|&value| value == 0.5), "{isa}");
            }
        }
    }
}

#[test]
fn prefetches_take_any_address_and_change_nothing() {
    let kept = values(64, 1);
    for isa in Isa::available() {
        for (first, write) in [(kept.as_ptr(), 0), (kept.as_ptr(), 1), (std::ptr::null(), 0), (std::ptr::null(), 1)] {
            // SAFETY: a prefetch needs no valid address.
            unsafe { (micro_kernels(isa).prefetch_rows)(4, 40, first, 1 << 20, write) };
        }
    }
    assert_eq!(kept, values(64, 1));
}

#[test]
fn kernels_of_absent_instruction_sets_are_refused() {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        assert!(std::panic::catch_unwind(|| micro_kernels(isa)).is_err(), "{isa}");
    }
}

#[test]
fn the_limits_of_the_machine_are_measured() {
    for isa in Isa::available() {
        let gflops = visage_kernels::memory::measure::peak_gflops(isa, 1);
        assert!(gflops.is_finite() && gflops > 0.1, "{isa}: {gflops} GFLOP/s");
    }
    let gigabytes = visage_kernels::memory::measure::copy_gigabytes(2, true);
    assert!(gigabytes.is_finite() && gigabytes > 0.1, "{gigabytes} GB/s");
}
