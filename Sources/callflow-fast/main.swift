print("callflow-fast")
