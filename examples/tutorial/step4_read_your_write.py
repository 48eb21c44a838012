"""Step 4: after your own write, wait until the read model has it; other requests do not wait.

The relay and the projector of step 3 are running.

$ python -m examples.tutorial.step4_read_your_write
"""

from decimal import Decimal

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from eventkit import load_settings, wait_for
from examples.tutorial.step2_decide import orders
from examples.tutorial.step3_relay_and_project import OrderRow, order_list


def place_order(session: Session, order_id: str, customer: str, total: Decimal) -> OrderRow:
    order = orders.new(order_id)
    order.place(order_id, customer, total)
    appended = orders.save(session, order)
    session.commit()
    if appended is not None:
        wait_for(session, order_list, appended, timeout=60)  # seconds; NotApplied after that
    return session.get_one(OrderRow, order_id)


def main() -> None:
    engine = create_engine(load_settings().sqlalchemy_url)
    with Session(engine) as session:
        row = place_order(session, "2", "bob", Decimal("30.00"))
        print(f"order {row.order}: {row.customer}, {row.total}, {row.status}")


if __name__ == "__main__":
    main()
