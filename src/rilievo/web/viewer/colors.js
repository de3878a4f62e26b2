// Colour maps of numbers: uncertainty and errors, dark is little; steps of ratio, since they span decades.

import * as THREE from "three";

const STOPS = ["#3b4cc0", "#2f8fd6", "#35c2a9", "#a6d854", "#f5c445", "#e4572e"];

export const gradient = `linear-gradient(to right, ${STOPS.join(", ")})`;

let kept = null;

/** 256 x 1 texture from little to much. */
export function ramp() {
  if (kept) return kept;
  const data = new Uint8Array(256 * 4), colors = STOPS.map((s) => [1, 3, 5].map((k) => parseInt(s.slice(k, k + 2), 16)));
  for (let i = 0; i < 256; i += 1) {
    const t = (i / 255) * (colors.length - 1), k = Math.min(Math.floor(t), colors.length - 2), f = t - k;
    for (let c = 0; c < 3; c += 1) data[4 * i + c] = Math.round(colors[k][c] * (1 - f) + colors[k + 1][c] * f);
    data[4 * i + 3] = 255;
  }
  kept = new THREE.DataTexture(data, 256, 1);
  kept.magFilter = kept.minFilter = THREE.LinearFilter;
  kept.needsUpdate = true;
  return kept;
}

/** [lo, hi] of a range as logarithms, for the shaders. */
export function logRange(range) {
  const lo = Math.max(range?.[0] ?? 1e-6, 1e-12), hi = Math.max(range?.[1] ?? 1, lo * 1.01);
  return new THREE.Vector2(Math.log(lo), Math.log(hi));
}

export const RAMP_GLSL = `
uniform sampler2D ramp;
uniform vec2 logRange;
vec3 rampColor(float value) {
  if (value < 0.0) return vec3(0.42);
  float t = (log(max(value, 1e-12)) - logRange.x) / (logRange.y - logRange.x);
  return texture2D(ramp, vec2(clamp(t, 0.002, 0.998), 0.5)).rgb;
}`;
