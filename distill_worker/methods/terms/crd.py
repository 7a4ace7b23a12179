"""Contrastive representation distillation, with its projections and its two memories."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from distill_worker.losses import crd_loss, crd_normaliser
from distill_worker.methods.crd import CRD
from distill_worker.methods.terms.base import Batch, Setting, make_term
from distill_worker.methods.terms.representation import Representation


@make_term.register(CRD)
class _Contrast(nn.Module):
    student_memory: Tensor
    teacher_memory: Tensor
    normalisers: Tensor

    def __init__(self, method: CRD, setting: Setting) -> None:
        super().__init__()
        self._method = method
        self.representation = Representation(method, setting, equal_dims=False)
        bought = self.representation.of_teacher(setting.targets[self.representation.teacher_kind])
        student_shape = setting.student_shapes[self.representation.student_kind]
        self.student_embed = nn.Linear(student_shape[0], method.dims)
        self.teacher_embed = nn.Linear(bought.shape[1], method.dims)
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, normalize(torch.randn(len(bought), method.dims)))
        self.register_buffer("normalisers", torch.zeros(2))

    def forward(self, batch: Batch) -> Tensor:
        student_rows, teacher_rows = self.representation(batch)
        student = normalize(self.student_embed(student_rows))
        teacher = normalize(self.teacher_embed(teacher_rows))
        drawn = torch.randint(
            len(self.student_memory),
            (len(student), self._method.negatives),
            generator=batch.generator,
            device=batch.generator.device,
        )
        contrast = torch.cat([batch.samples[:, None], drawn], dim=1)
        memories = (self.student_memory.clone(), self.teacher_memory.clone())
        if batch.step == 1:
            # As in the paper's code, the constants are set once, from the first batch.
            self.normalisers.copy_(
                torch.stack(
                    [
                        crd_normaliser(student, memories[1], contrast, temperature=self._method.temperature),
                        crd_normaliser(teacher, memories[0], contrast, temperature=self._method.temperature),
                    ]
                )
            )
        loss = crd_loss(
            student,
            teacher,
            *memories,
            contrast,
            temperature=self._method.temperature,
            student_normaliser=self.normalisers[0],
            teacher_normaliser=self.normalisers[1],
        )
        self._remember(batch.samples, student.detach(), teacher.detach())
        return loss

    def _remember(self, samples: Tensor, student: Tensor, teacher: Tensor) -> None:
        stay = self._method.momentum
        for memory, rows in ((self.student_memory, student), (self.teacher_memory, teacher)):
            memory[samples] = normalize(stay * memory[samples] + (1 - stay) * rows.to(memory.dtype))
