"""Networks are read one after the other, whoever asks."""

import threading
import time
from pathlib import Path

from flame_fitting.landmarks import network


def test_threads_take_turns(monkeypatch):
    reading, most = [], []

    def read(path, engine):
        reading.append(path)
        most.append(len(reading))
        time.sleep(0.01)
        reading.remove(path)
        return network.cv2.dnn.Net()

    monkeypatch.setattr(network.cv2.dnn, "readNetFromTFLite", read)
    threads = [threading.Thread(target=network.read_network, args=(Path(str(number)),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
