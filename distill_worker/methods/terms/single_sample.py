"""Terms that are computed sample by sample."""

from torch import Tensor, nn

from distill_worker.losses import (
    dist_loss,
    dkd_loss,
    kd_loss,
    logit_variance,
    lskd_loss,
    mse_loss,
    ttm_loss,
    wttm_loss,
)
from distill_worker.methods.base import LOGITS
from distill_worker.methods.single_sample import CE, DIST, DKD, KD, LSKD, MSE, TTM, WTTM
from distill_worker.methods.terms.base import Batch, LogitTerm, Setting, make_term


@make_term.register
def _ce(_method: CE, _setting: Setting) -> None:
    return None


@make_term.register
def _kd(method: KD, _setting: Setting) -> nn.Module:
    return LogitTerm(kd_loss, temperature=method.temperature)


@make_term.register
def _lskd(method: LSKD, _setting: Setting) -> nn.Module:
    return LogitTerm(lskd_loss, temperature=method.temperature)


@make_term.register
def _dist(method: DIST, _setting: Setting) -> nn.Module:
    return LogitTerm(dist_loss, temperature=method.temperature)


@make_term.register
def _ttm(method: TTM, _setting: Setting) -> nn.Module:
    return LogitTerm(ttm_loss, temperature=method.temperature)


@make_term.register
def _wttm(method: WTTM, _setting: Setting) -> nn.Module:
    return LogitTerm(wttm_loss, temperature=method.temperature)


@make_term.register(MSE)
class _Regression(nn.Module):
    variance: Tensor

    def __init__(self, _method: MSE, setting: Setting) -> None:
        super().__init__()
        self.register_buffer("variance", logit_variance(setting.targets[LOGITS]), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        return mse_loss(batch.student[LOGITS], batch.teacher[LOGITS], variance=self.variance)


@make_term.register(DKD)
class _Decoupled(nn.Module):
    """DKD, warmed up."""

    def __init__(self, method: DKD, setting: Setting) -> None:
        super().__init__()
        self._method = method
        self._warm_up_steps = method.warm_up * setting.steps

    def forward(self, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise ValueError("labels: dkd needs one true label for each sample, got mixtures")
        loss = dkd_loss(
            batch.student[LOGITS],
            batch.teacher[LOGITS],
            batch.labels,
            temperature=self._method.temperature,
            alpha=self._method.alpha,
            beta=self._method.beta,
        )
        return loss * min(1.0, batch.step / self._warm_up_steps) if self._warm_up_steps else loss
