"""moving objects, draft"""
from dataclasses import dataclass
from typing import NamedTuple, final
import cv2
import numpy as np
import torch
from numba import njit
from firstsight.geometry.pnp import PosePrior, refine_pose
from firstsight.motion.edge_aware import _sweep
from firstsight.roles import Depth, Flow, MotionSegmenter, MovingObjects


@dataclass(frozen=True, kw_only=True)
class Config:
    threshold: float = 3.0
    flow_sigma_px: float = 0.4   # floor
    flow_relative: float = 0.02
    reach_px: float = 6.0
    depth_edge: float = 0.05
    bleed_px: int = 9
    rho_floor: float = 0.01
    plane_share: float = 0.04
    plane_prior: float = 1.0
    plane_relative: float = 0.05
    confirm: int = 2
    depth_memory: float = 0.15
    unknown: float = 0.1
    static_prior: float = 0.5
    memory: float = 0.7
    seed: float = 0.3
    min_area_px: int = 12
    max_gap: int = 5
    refine: bool = True


@njit(cache=True)
def explain(inverse_depth, flow, motion, intrinsics):
    """residual, gradient"""
    h, w = inverse_depth.shape
    residual = np.empty((h, w, 2), np.float32)
    gradient = np.empty((h, w, 2), np.float32)
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    m = motion
    for y in range(h):
        for x in range(w):
            rx, ry, rho = (x - cx) / fx, (y - cy) / fy, inverse_depth[y, x]
            qx = m[0, 0] * rx + m[0, 1] * ry + m[0, 2] + rho * m[0, 3]
            qy = m[1, 0] * rx + m[1, 1] * ry + m[1, 2] + rho * m[1, 3]
            qz = max(m[2, 0] * rx + m[2, 1] * ry + m[2, 2] + rho * m[2, 3], 1e-3)
            ux, uy = qx / qz, qy / qz
            residual[y, x, 0] = flow[0, y, x] - (fx * ux + cx - x)
            residual[y, x, 1] = flow[1, y, x] - (fy * uy + cy - y)
            gradient[y, x, 0] = fx * (m[0, 3] - ux * m[2, 3]) / qz
            gradient[y, x, 1] = fy * (m[1, 3] - uy * m[2, 3]) / qz
    return residual, gradient


def noise(residual, gradient, known, config):
    r, g = residual[::3, ::3][known[::3, ::3]], gradient[::3, ::3][known[::3, ::3]]
    if len(r) < 50:
        return config.flow_sigma_px, 0.0
    length = np.linalg.norm(g, axis=1) + 1e-9
    along = np.abs((r * g).sum(1)) / length
    across = np.abs(r[:, 0] * g[:, 1] - r[:, 1] * g[:, 0]) / length
    sigma_f = max(config.flow_sigma_px, 1.4826 * float(np.median(across)))
    strong = length > np.median(length)
    ratio = 1.4826 * np.median(along[strong] / length[strong])
    sigma_rho = np.sqrt(max(0.0, ratio**2 - (sigma_f / np.median(length[strong])) ** 2))
    return sigma_f, float(sigma_rho)


@njit(cache=True)
def chi_squared(residual, gradient, flow, below, above, sigma_f, relative, sigma_rho):
    h, w, _ = residual.shape
    out = np.empty((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            rx, ry = residual[y, x]
            gx, gy = gradient[y, x]
            g2 = gx * gx + gy * gy + 1e-12
            v = sigma_f**2 + relative**2 * (flow[0, y, x] ** 2 + flow[1, y, x] ** 2)
            g1 = np.sqrt(g2)
            e = (rx * gx + ry * gy) / g1
            across = max(rx * rx + ry * ry - e * e, 0.0)
            e -= min(max(e, below[y, x] * g1), above[y, x] * g1)
            along = e * e
            out[y, x] = across / v + along / (v + sigma_rho**2 * g2)
    return out


@njit(cache=True)
def fade_along(log_depth, on, a, depth_edge):
    h, w = log_depth.shape
    out = np.empty((h, w - 1), np.float32)
    for y in range(h):
        for x in range(w - 1):
            d = 1 + np.float32(10) * min(abs(log_depth[y, x] - log_depth[y, x + 1]) / depth_edge, 3)
            d += 10 * (on[y, x] != on[y, x + 1])
            out[y, x] = a**d
    return out


def planes(rho, static, tol, share, count=2, relative=0.05):
    """(n,3) planes rho = a x + b y + c that hold many of the static pixels."""
    st = max(1, int(np.sqrt(rho.size / 4000)))
    grid, free = rho[::st, ::st].astype(np.float64), static[::st, ::st].copy()
    h, w = grid.shape
    yy, xx = np.mgrid[:h, :w].astype(np.float64) * st
    A = np.stack([xx, yy, np.ones_like(xx)], -1)
    total = free.sum()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        ys, xs = np.nonzero(free)
        if len(ys) < max(share * total, 50):
            break
        k = rng.integers(0, len(ys), 200)
        off = rng.integers(-w // 6, w // 6 + 1, (200, 2, 2))
        py = np.clip(np.c_[ys[k], ys[k, None] + off[:, :, 0]], 0, h - 1)
        px = np.clip(np.c_[xs[k], xs[k, None] + off[:, :, 1]], 0, w - 1)
        M, r3 = A[py, px], grid[py, px]
        ok = free[py, px].all(1) & (abs(np.linalg.det(M)) > 10 * st * st)
        if not ok.any():
            break
        P = np.linalg.solve(M[ok], r3[ok][..., None])[..., 0]
        P = P[P[:, 1] > 3 * abs(P[:, 0])]
        if not len(P):
            break
        rows, r = A[free], grid[free]
        t = np.maximum(tol, relative * r)
        n = np.maximum(0, 1 - ((rows @ P.T - r[:, None]) / t[:, None]) ** 2).sum(0)
        best = P[n.argmax()]
        for _ in range(5):
            wt = np.maximum(0, 1 - ((rows @ best - r) / (1.5 * t)) ** 2) / t
            best = np.linalg.lstsq(rows * wt[:, None], r * wt, rcond=None)[0]
        inl = abs(A @ best - grid) < np.maximum(tol, relative * grid)
        if (inl & free).sum() < share * total:
            break
        found.append(best)
        free &= ~inl
    return found


@njit(cache=True)
def label(mask, log_depth, residual, depth_edge, residual_edge):
    h, w = mask.shape
    labels = np.zeros((h, w), np.int32)
    stack = np.empty((h * w, 2), np.int32)
    n = 0
    for y0 in range(h):
        for x0 in range(w):
            if not mask[y0, x0] or labels[y0, x0]:
                continue
            n += 1
            labels[y0, x0] = n
            stack[0] = y0, x0
            top = 1
            while top:
                top -= 1
                y, x = stack[top]
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    v, u = y + dy, x + dx
                    if not (0 <= v < h and 0 <= u < w) or not mask[v, u] or labels[v, u]:
                        continue
                    if abs(log_depth[v, u] - log_depth[y, x]) > depth_edge:
                        continue
                    if np.hypot(residual[v, u, 0] - residual[y, x, 0], residual[v, u, 1] - residual[y, x, 1]) > residual_edge:
                        continue
                    labels[v, u] = n
                    stack[top] = v, u
                    top += 1
    return labels, n


@njit(cache=True)
def carry(ids, z, flow):
    h, w = ids.shape
    out = np.zeros_like(ids)
    oz = np.zeros_like(z)
    for y in range(h):
        for x in range(w):
            if ids[y, x]:
                v, u = y + flow[1, y, x], x + flow[0, y, x]
                for dy in range(2):
                    for dx in range(2):
                        vv, uu = int(np.floor(v)) + dy, int(np.floor(u)) + dx
                        if 0 <= vv < h and 0 <= uu < w:
                            out[vv, uu] = ids[y, x]
                            oz[vv, uu] = z[y, x]
    return out, oz


def fill(depth, valid):
    """nearest valid left/right, the farther"""
    d = np.where(valid, depth, 0)
    return _fill(d.astype(np.float32))


@njit(cache=True)
def _fill(d):
    h, w = d.shape
    out = d.copy()
    for y in range(h):
        last = np.float32(0)
        for x in range(w):
            if d[y, x] > 0:
                last = d[y, x]
            else:
                out[y, x] = last
        last = np.float32(0)
        for x in range(w - 1, -1, -1):
            if d[y, x] > 0:
                last = d[y, x]
            elif last > out[y, x]:
                out[y, x] = last
    return np.where(out > 0, out, np.float32(1e3))


class MovingObjectSegmentation(MotionSegmenter):
    def __init__(self, config=None):
        self.config = config or Config()
        self.carried = None
        self.next_id = 1
        self.missing = {}
        self.hits = {}
        self.steps = 0

    def step(self, depth, flow_ab, b_from_a, intrinsics):
        c = self.config
        z, zok = depth.depth[0, 0].numpy(), depth.valid[0, 0].numpy()
        flow, fok = flow_ab.flow[0].numpy(), flow_ab.valid[0, 0].numpy()
        K = intrinsics.numpy()
        T = b_from_a.numpy()
        known = zok & fok
        zf = fill(z, zok)
        rho = (1 / zf).astype(np.float32)
        r, g = explain(rho, flow, T, K)
        sf, sr = noise(r, g, known, c)
        if c.refine and known.sum() > 100:
            T = self.refine(rho, flow, known, T, K, g, sf, sr)
            r, g = explain(rho, flow, T, K)
            sf, sr = noise(r, g, known, c)
        self.sig = sf, sr
        ker = np.ones((c.bleed_px, c.bleed_px), np.uint8)
        below, above = cv2.erode(rho, ker) - rho, cv2.dilate(rho, ker) - rho
        chi2 = chi_squared(r, g, flow, below, above, sf, c.flow_relative, sr)
        s = np.clip((chi2 - c.threshold**2) / c.threshold**2, -1, 1).astype(np.float32)
        wts = np.where(known, np.float32(1), np.float32(c.unknown))
        pred = self.carried if self.carried is not None else np.zeros(z.shape, np.int32)
        far = rho < 3 * max(sr, c.rho_floor * np.median(rho[known]))
        s = np.where(known & ~far, s, np.float32(-c.static_prior))
        wts[far] = c.unknown
        tol = 3 * max(sr, 0.01 * np.median(rho[known]))
        self.planes = planes(rho, known & (s < 0) & ~far, tol, c.plane_share, relative=c.plane_relative)
        yy, xx = np.mgrid[:z.shape[0], :z.shape[1]].astype(np.float32)
        self.on = np.zeros(z.shape, bool)
        for pa, pb, pc in self.planes:
            self.on |= abs(rho - (np.float32(pa) * xx + np.float32(pb) * yy + np.float32(pc))) < np.maximum(tol, c.plane_relative * rho)
        self.on = cv2.medianBlur(self.on.astype(np.uint8), 5) > 0
        s -= c.plane_prior * self.on
        same = (pred > 0) & ~far & ~self.on
        if self.carried is not None:
            same &= abs(np.log(zf / np.maximum(self.carried_z, 1e-3))) < c.depth_memory
        s += c.memory * same
        self.raw = s.copy()
        s *= wts
        a = np.float32(np.exp(-np.sqrt(2) / c.reach_px))
        logz = np.log(zf)
        fh = fade_along(logz, self.on, a, c.depth_edge)
        fv = fade_along(logz.T, self.on.T, a, c.depth_edge)
        for _ in range(2):
            _sweep(s, wts, fh)
            st, wt = np.ascontiguousarray(s.T), np.ascontiguousarray(wts.T)
            _sweep(st, wt, fv)
            s, wts = np.ascontiguousarray(st.T), np.ascontiguousarray(wt.T)
        score = s / wts
        self.score = score
        mask = score > 0
        labels, n = label(mask, logz, r, 0.2, 3 + 4 * sf)
        area = np.bincount(labels.ravel(), minlength=n + 1)
        peak = np.zeros(n + 1); np.maximum.at(peak, labels.ravel(), score.ravel())
        good = (area >= c.min_area_px) & (peak > c.seed); good[0] = False
        labels = np.where(good[labels], labels, 0)
        ids = self.associate(labels, pred)
        self.steps += 1
        for i in np.unique(ids[ids > 0]):
            self.hits[int(i)] = self.hits.get(int(i), 0) + 1
        need = min(c.confirm, self.steps)
        out = np.where(np.isin(ids, [i for i, h in self.hits.items() if h >= need]), ids, 0)
        keep = np.where(ids > 0, ids, np.where(np.isin(pred, list(self.missing)) if self.missing else False, pred, 0)).astype(np.int32)
        self.carried, self.carried_z = carry(keep, zf, flow)
        return MovingObjects(torch.from_numpy(out.astype(np.int64)), torch.from_numpy(np.hypot(r[..., 0], r[..., 1]) * known))

    def refine(self, rho, flow, known, T, K, g, sf, sr):
        h, w = rho.shape
        st = max(1, int(np.sqrt(h * w / 6000)))
        ys, xs = np.nonzero(known[::st, ::st]); ys, xs = ys * st, xs * st
        p = np.stack([xs, ys], 1).astype(float)
        rays = np.c_[(p - K[:2, 2]) / K.diagonal()[:2], np.ones(len(p))]
        pts = rays / rho[ys, xs][:, None]
        f = flow[:, ys, xs].T
        sig = np.sqrt(sf**2 + (self.config.flow_relative * np.linalg.norm(f, axis=1)) ** 2 + (sr * np.linalg.norm(g[ys, xs], axis=1)) ** 2)
        scale = np.sqrt(200 / len(p))
        mz = np.median(1 / rho[ys, xs])
        prior = PosePrior(np.linalg.inv(T), np.diag([1 / (0.001 * mz) ** 2] * 3 + [1 / 0.001**2] * 3))
        meas = np.c_[p + f, 0 * sig]
        inl = np.ones(len(p))
        for _ in range(3):
            prec = np.c_[inl / sig, inl / sig, 0 * sig] * scale
            T = refine_pose(T, pts, meas, prec, K, 1.0 * scale, prior)
            q = pts @ T[:3, :3].T + T[:3, 3]
            uv = q[:, :2] / q[:, 2:] * K.diagonal()[:2] + K[:2, 2]
            inl = (np.linalg.norm(uv - meas[:, :2], axis=1) < 2.5 * sig).astype(float)
        return T

    def associate(self, labels, pred):
        ids = np.zeros_like(labels)
        inter = {}
        both = (labels > 0) & (pred > 0)
        pairs, counts = np.unique(np.stack([labels[both], pred[both]]), axis=1, return_counts=True)
        la = np.bincount(labels.ravel()); pa = np.bincount(pred.ravel())
        iou = sorted(((c / (la[l] + pa[p] - c), l, p) for (l, p), c in zip(pairs.T, counts)), reverse=True)
        used = {}
        taken = set()
        for v, l, p in iou:
            if v > 0.1 and l not in used and p not in taken:
                used[l] = p; taken.add(p)
        out_ids = set()
        for l in np.unique(labels[labels > 0]):
            i = used.get(l)
            if i is None:
                i = self.next_id; self.next_id += 1
            ids[labels == l] = i; out_ids.add(int(i))
        alive = set(int(v) for v in np.unique(pred[pred > 0]))
        self.missing = {i: self.missing.get(i, 0) + 1 for i in alive - out_ids if self.missing.get(i, 0) < self.config.max_gap}
        return ids
