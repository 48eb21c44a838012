"""The shop's one address."""

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from examples.frameworks.django_shop.models import place_order


@require_POST
def orders(request: HttpRequest) -> JsonResponse:
    order = place_order(request.POST["customer"], int(request.POST["cents"]))
    return JsonResponse({"order": order.id}, status=201)


urlpatterns = [path("orders", orders)]
